"""What methods with internal classifiers share: where the exits stand and which cells they use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from everychip.devices import Device
from everychip.errors import ConfigError
from everychip.exits import Exits, attach
from everychip.hardware import Hardware
from everychip.methods.base import Method, Objective


class InternalExits(Method):
    """A method whose model carries exits while it trains.

    positions: "auto" (even shares of compute), "paper" (VGG-8 and ResNet-18), or names of submodules. count:
    the number of automatic exits. hidden: the width of each exit's hidden layer. exit_device: the exits'
    cells; None means the backbone's device (the authors' code always uses the uniform one, RRAM1).
    """

    positions: Literal["auto", "paper"] | tuple[str, ...] = "auto"
    count: Annotated[int, Field(ge=1, le=1_000)] = 3
    hidden: Annotated[int, Field(ge=1, le=65_536)] = 512
    exit_device: Device | None = None

    def must_suit(self, hardware: Hardware, sample: Tensor | None) -> None:
        """The exits are sized from a sample."""
        if sample is None:
            raise ConfigError(
                f"method {self.kind}",
                found="no sample batch",
                expected="one that sizes the exits",
                remedy="bind(model, hardware, sample=x[:2])",
            )

    def exits(self, model: nn.Module, sample: Tensor, *, seed: int) -> Exits:
        """The exits, sized from a sample batch."""
        where = self.positions if isinstance(self.positions, str) else list(self.positions)
        return attach(model, sample, where=where, count=self.count, hidden=self.hidden, seed=seed)

    def all_logits(self, objective: Objective, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits of the backbone and of the exits on this step's chip."""
        hardware = None
        if self.exit_device is not None:
            hardware = objective.hardware.replace(device=self.exit_device)
        return objective.logits_with_exits(x, exit_hardware=hardware)
