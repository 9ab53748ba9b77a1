"""Training at a larger σ than that of the device: the control of noisier forwards."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from everychip.methods.base import Method, Objective, Role


class OverNoise(Method):
    """Noise injection at more than the device's σ, the control of OVF's larger σ: σ_train = r·σ.

    ratio: r, without unit; the deviation of every cell is scaled by it, gradually over the `ramp`.
    Cost: 1 forward per step. Source: arXiv 2602.07320, r in {1.25, 1.5, 2} with a linear ramp.

    >>> OverNoise().ramp
    0.5
    """

    role: ClassVar[Role] = "control"
    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    as_control: ClassVar[str] = "has OVF's larger σ and no feedback"
    colour: ClassVar[str] = "#009e73"
    any_task: ClassVar[bool] = True

    ratio: Annotated[float, Field(gt=0)] = 1.5
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.5
    noisy: ClassVar[bool] = True

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return objective.criterion(objective.noisy_logits(x, ratio=self.ratio), y)
