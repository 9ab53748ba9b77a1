"""What sharpness-aware methods share: a first gradient, a step uphill, and the loss there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.methods.base import Method, Objective
from everychip.methods.losses import full_precision
from everychip.methods.probe import forward_frozen_stats, same_masks


class Sharpness(Method):
    """A method whose loss is taken at W + sg(ε), so that an ordinary optimiser makes its step.

    rho: ρ. noise: whether both losses are those of this step's chip, or clean. Only the first forward moves
    batch norm's running statistics; both meet the same dropout masks.
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    any_task: ClassVar[bool] = True

    rho: Annotated[float, Field(ge=0)] = 0.05
    noise: bool = False

    forwards: ClassVar[float] = 2.0
    loss_forward: ClassVar[int] = -1

    @property
    def noisy(self) -> bool:  # type: ignore[override]
        """Whether the losses are those of chips."""
        return self.noise

    @abstractmethod
    def stretches(self, objective: Objective) -> dict[str, Tensor]:
        """T of every parameter that is moved, in its shape or a scalar: ε = ρ·T²·g / ‖T·g‖."""

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        stretches = self.stretches(objective)
        held = {name: objective.model.get_parameter(name) for name in stretches}
        with same_masks(objective):
            here = objective.criterion(objective.runner.logits(self._chip(objective, {}), x), y)
        slopes = dict(
            zip(held, torch.autograd.grad(here, [*held.values()], materialize_grads=True), strict=True)
        )
        steps = uphill(slopes, stretches, rho=self.rho)
        # Each step is let go as soon as it is taken: one copy of the weights stands beside them, not two.
        chip = self._chip(objective, {name: p + steps.pop(name) for name, p in held.items()})
        # The order matters: the first forward has moved the statistics, the second finds them as they are.
        return objective.criterion(forward_frozen_stats(objective.runner, chip, x), y)

    def _chip(self, objective: Objective, moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The moved parameters, those of the crossbar programmed where there is noise (one draw for both)."""
        if not self.noise:
            return dict(moved)
        weights = {name: moved.get(name, w) for name, w in objective.weights.items()}
        return {**moved, **objective.chip(weights=weights)}


def uphill(slopes: dict[str, Tensor], stretches: Mapping[str, Tensor], *, rho: float) -> dict[str, Tensor]:
    """ε = ρ·T²·g / ‖T·g‖, the norm over all parameters: the worst step with ‖T⁻¹ε‖ ≤ ρ, to first order.

    The slopes are taken out as they are used, so that no copy of them outlives its turn.

    >>> uphill({"w": torch.tensor([3.0, 4.0])}, {"w": torch.ones(())}, rho=0.5)
    {'w': tensor([0.3000, 0.4000])}
    """
    stretched = {name: stretches[name] * slopes.pop(name) for name in list(slopes)}
    norm = torch.stack([full_precision(step).square().sum() for step in stretched.values()]).sum().sqrt()
    norm = norm.clamp_min(1e-12)
    return {name: rho * stretches[name] * stretched.pop(name) / norm for name in list(stretched)}
