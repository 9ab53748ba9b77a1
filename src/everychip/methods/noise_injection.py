"""Training on a fresh chip for every batch."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from everychip.methods.base import Method, Objective, Role


class NoiseInjection(Method):
    """Cross-entropy through a fresh chip per batch, at the device's own σ: L = CE(z, y).

    Cost: 1 forward per step. Source: Joshi et al., Nat. Commun. 2020 ("w/ noise").

    >>> NoiseInjection(ramp=0.5).table()["ramp"]
    0.5
    """

    role: ClassVar[Role] = "baseline"
    controls: ClassVar[tuple[str, ...]] = ("vanilla",)
    as_control: ClassVar[str] = "is training under device noise and nothing else"
    colour: ClassVar[str] = "#e69f00"
    any_task: ClassVar[bool] = True

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return objective.criterion(objective.noisy_logits(x), y)
