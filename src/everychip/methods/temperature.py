"""The control of every method whose loss rescales the logits: the same scale, no feedback."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from everychip.methods.base import Method, Objective, Role
from everychip.methods.losses import full_precision


class Temperature(Method):
    """Noise injection with divided logits, the control of every loss that rescales them: L = CE(z / T, y).

    temperature: T; 4 is what IRS and OVF with three feedback terms divide by. CE is the task's loss,
    of logits of any kind; a regression has none to divide and is refused.
    Cost: 1 forward per step. Source: this project's own.

    >>> Temperature().temperature
    4.0
    """

    role: ClassVar[Role] = "control"
    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    as_control: ClassVar[str] = "has the softer loss that feedback methods bring with them"
    colour: ClassVar[str] = "#56b4e9"
    any_task: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = True
    temperature: Annotated[float, Field(gt=0)] = 4.0

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return objective.criterion(full_precision(objective.noisy_logits(x)) / self.temperature, y)
