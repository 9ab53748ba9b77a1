"""What methods with internal classifiers share: where the exits stand and which cells they use."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from everychip.config.registering import Before
from everychip.data.inputs import Inputs
from everychip.devices import Device
from everychip.errors import ConfigError
from everychip.exits import Exits, Init, attach, start_of_exits
from everychip.hardware.hardware import Hardware
from everychip.methods.base import Method, Objective


class InternalExits(Method):
    """A method whose model carries exits while it trains.

    positions: "auto" (even shares of compute), "paper" (VGG-8 and ResNet-18), or names of submodules.
    count: the number of automatic exits. hidden: the width of each exit's hidden layer. exit_device: the
    exits' cells; None means the backbone's device (the authors' code always uses the uniform one, RRAM1).
    init: how the exits' linear layers start: "fan_out" (the authors'), "default" (PyTorch's) or "auto", the
    authors' where the positions are theirs. frozen: the exits keep their start; what they feed back then is
    noise of the logits and nothing learned, the control of what exits learn.
    """

    positions: Literal["auto", "paper"] | tuple[str, ...] = "auto"
    count: Annotated[int, Field(ge=1, le=1_000)] = 3
    hidden: Annotated[int, Field(ge=1, le=65_536)] = 512
    exit_device: Device | None = None
    init: Annotated[Init | Literal["auto"], Before("default")] = "auto"
    frozen: Annotated[bool, Before(False)] = False

    @model_validator(mode="after")
    def _start_is_known(self) -> Self:
        # In the place of "auto", so that a table always says which start its run had.
        object.__setattr__(self, "init", start_of_exits(self.init, where=self.positions))
        return self

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """The exits are sized from a sample."""
        if sample is None:
            raise ConfigError(
                f"method {self.kind}",
                found="no sample batch",
                expected="one that sizes the exits",
                remedy="bind(model, hardware, sample=x[:2])",
            )

    def exits(self, model: nn.Module, sample: Tensor, *, seed: int) -> Exits | None:
        """The exits, sized from a sample batch."""
        return self._attached(model, sample, seed=seed, axis=None)

    def dense_exits(self, model: nn.Module, sample: Inputs, *, seed: int, axis: int) -> Exits | None:
        """The exits of a model that answers at every place."""
        return self._attached(model, sample, seed=seed, axis=axis)

    def _attached(self, model: nn.Module, sample: Inputs, *, seed: int, axis: int | None) -> Exits:
        where = self.positions if isinstance(self.positions, str) else list(self.positions)
        exits = attach(
            model,
            sample,
            where=where,
            count=self.count,
            hidden=self.hidden,
            init=self.init,
            seed=seed,
            axis=axis,
        )
        return exits.requires_grad_(not self.frozen)

    def all_logits(self, objective: Objective, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits of the backbone and of the exits on this step's chip."""
        hardware = None
        if self.exit_device is not None:
            hardware = objective.hardware.replace(device=self.exit_device)
        return objective.logits_with_exits(x, exit_hardware=hardware)
