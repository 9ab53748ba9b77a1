"""Negative feedback from internal classifiers: multi-exit training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from everychip.methods.base import Objective
from everychip.methods.internal_exits import InternalExits
from everychip.methods.losses import negative_feedback


class IRS(InternalExits):
    """Intermediate representation snapshot: the exits' logits are fed back negatively.

    L = CE(a_b·z − a_f·β·Σ_n γ_n·z_n, y), z_n the logits of exit n on noisy cells, n = 1 the earliest.
    beta: β (published: 1e-2 for VGG-8 on MNIST, 1e-1 on CIFAR-10). decay: γ_n = decay^(n−1).
    backbone_share, feedback_share: a_b and a_f, 1/(N+1) unless given.
    Cost: 1 forward per step plus the exits.

    Source: Qin et al., arXiv 2305.14561 (v1, multi-exit) and IEEE TCAD 2025, doi 10.1109/TCAD.2025.3591409.

    >>> IRS(beta=0.1).table()["beta"]
    0.1
    """

    beta: float = 1e-2
    decay: Annotated[float, Field(gt=0)] = 0.1
    backbone_share: float | None = None
    feedback_share: float | None = None

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        z, exits = self.all_logits(objective, x)
        seen = negative_feedback(
            z,
            exits,
            beta=self.beta,
            decay=self.decay,
            backbone_share=self.backbone_share,
            feedback_share=self.feedback_share,
        )
        return self.cross_entropy(seen, y)
