"""Sharpness-aware minimisation."""

from __future__ import annotations

import torch
from torch import Tensor

from everychip.methods.base import Objective
from everychip.methods.sharpness import Sharpness


class SAM(Sharpness):
    """Sharpness-aware minimisation: L = CE at Θ + sg(ε), ε = ρ·g / ‖g‖, g the gradient of CE at Θ.

    rho: ρ, the length of the step uphill over all trainable parameters, in their own unit.
    Cost: 2 forwards per step.

    Source: Foret et al., ICLR 2021, arXiv 2010.01412; for noisy hardware: Mordido et al., arXiv 2211.11561.

    >>> SAM().rho, SAM().noisy
    (0.05, False)
    """

    def stretches(self, objective: Objective) -> dict[str, Tensor]:
        return {name: torch.ones((), device=p.device) for name, p in trainable(objective).items()}


def trainable(objective: Objective) -> dict[str, Tensor]:
    """The parameters of the model that are trained, by name."""
    return {name: p for name, p in objective.model.named_parameters() if p.requires_grad}
