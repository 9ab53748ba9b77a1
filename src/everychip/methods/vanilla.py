"""Ordinary training, which ignores the device."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from everychip.methods.base import Method, Objective, Role


class Vanilla(Method):
    """Plain cross-entropy on the digital model: L = CE(z, y).

    Cost: 1 forward per step. Source: the baseline of every paper ("w/o noise").

    >>> Vanilla().noisy
    False
    """

    role: ClassVar[Role] = "baseline"
    controls: ClassVar[tuple[str, ...]] = ()
    colour: ClassVar[str] = "#7f7f7f"
    any_task: ClassVar[bool] = True

    noisy: ClassVar[bool] = False

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return objective.criterion(objective.runner.logits({}, x), y)
