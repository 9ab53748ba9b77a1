"""Methods that exist to test a claim of another one: same cost, same temperature, no feedback."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from everychip.methods.base import Method, Objective
from everychip.methods.internal_exits import InternalExits
from everychip.methods.losses import full_precision


class Temperature(Method):
    """Noise injection with divided logits, the control of every loss that rescales them: L = CE(z / T, y).

    temperature: T; 4 is what IRS and OVF with three feedback terms divide by.
    Cost: 1 forward per step. Source: this project's own.

    >>> Temperature().temperature
    4.0
    """

    temperature: Annotated[float, Field(gt=0)] = 4.0

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return self.cross_entropy(full_precision(objective.noisy_logits(x)) / self.temperature, y)


class DeepSupervision(InternalExits):
    """The exits of IRS with the positive sign, its control: L = CE(z, y) + λ·mean_n CE(z_n, y).

    weight: λ, without unit.
    Cost: 1 forward per step plus the exits. Source: Lee et al., Deeply-Supervised Nets, AISTATS 2015.

    >>> DeepSupervision(weight=0.5).weight
    0.5
    """

    weight: Annotated[float, Field(ge=0)] = 0.3

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        z, exits = self.all_logits(objective, x)
        inner = sum((self.cross_entropy(z_n, y) for z_n in exits), start=z.new_zeros(()))
        return self.cross_entropy(z, y) + self.weight * inner / len(exits)


class OverNoise(Method):
    """Noise injection at more than the device's σ, the control of OVF's larger σ: σ_train = r·σ.

    ratio: r, without unit; the deviation of every cell is scaled by it, gradually over the `ramp`.
    Cost: 1 forward per step. Source: arXiv 2602.07320, r in {1.25, 1.5, 2} with a linear ramp.

    >>> OverNoise().ramp
    0.5
    """

    ratio: Annotated[float, Field(gt=0)] = 1.5
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.5
    noisy: ClassVar[bool] = True

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return self.cross_entropy(objective.noisy_logits(x, ratio=self.ratio), y)
