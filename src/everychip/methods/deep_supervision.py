"""Exits with the positive sign: the control of feedback from exits."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from everychip.config.registering import Before, Formerly
from everychip.methods.base import Objective, Role
from everychip.methods.internal_exits import InternalExits
from everychip.methods.losses import full_precision


class DeepSupervision(InternalExits):
    """The exits of IRS with the positive sign, its control: L = CE(z/T, y) + λ·mean_n CE(z_n/T, y).

    coefficient: λ, without unit. temperature: T; N + 1 makes it the control of IRS, which divides by as much.
    Cost: 1 forward per step plus the exits. Source: Lee et al., Deeply-Supervised Nets, AISTATS 2015.

    >>> DeepSupervision(coefficient=0.5).coefficient
    0.5
    """

    role: ClassVar[Role] = "control"
    colour: ClassVar[str] = "#cc79a7"
    as_control: ClassVar[str] = "has the exits of `irs` with the opposite sign"
    any_task: ClassVar[bool] = True

    coefficient: Annotated[float, Field(ge=0), Formerly("weight")] = 0.3
    temperature: Annotated[float, Field(gt=0), Before(1.0)] = 1.0

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        z, *exits = (z / self.temperature for z in self._full_logits(objective, x))
        inner = sum((objective.criterion(z_n, y) for z_n in exits), start=z.new_zeros(()))
        return objective.criterion(z, y) + self.coefficient * inner / len(exits)

    def _full_logits(self, objective: Objective, x: Tensor) -> list[Tensor]:
        backbone, exits = self.all_logits(objective, x)
        return [full_precision(z) for z in (backbone, *exits)]
