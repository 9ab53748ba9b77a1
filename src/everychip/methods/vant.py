"""Noise injection at a σ that varies from batch to batch."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.hardware.hardware import Hardware
from everychip.methods.base import Method, Objective
from everychip.rng import rng_for


class VANT(Method):
    """Variance-aware noise training: L = CE(z, y), z of a chip at σ' = |N(α·σ, θ²)|, drawn for each batch.

    alpha: α, without unit, on the device's nominal σ. theta: θ, the spread of σ', in the unit of σ. It sees
    the raised σ of OVF without its feedback, and so is OVF's control.
    Cost: 1 forward per step.

    Source: Wang et al., Variance-Aware Noisy Training, arXiv 2503.16183 (the defaults are not the paper's).

    >>> VANT(theta=0.05).alpha
    1.0
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    any_task: ClassVar[bool] = True

    alpha: Annotated[float, Field(ge=0)] = 1.0
    theta: Annotated[float, Field(ge=0)] = 0.1

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """The drawn σ replaces a nominal one, so the device must have one."""
        hardware.with_sigma(0.0)

    def sigma(self, objective: Objective) -> float:
        """σ' of the objective's present step, in the unit of the device's nominal σ.

        Args:
            objective: the method bound to its model.

        Returns:
            A fraction of G_max.
        """
        rng = rng_for(objective.seed, "vant", *objective.address)
        nominal = objective.hardware.device.nominal_sigma or 0.0
        return abs(self.alpha * nominal + self.theta * float(torch.randn((), generator=rng)))

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        drawn = objective.hardware.with_sigma(self.sigma(objective))
        return objective.criterion(objective.noisy_logits(x, hardware=drawn), y)
