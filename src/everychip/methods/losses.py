"""The losses that methods are made of: pure functions of logits and labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from everychip.tasks.divergence import divergence as divergence  # noqa: PLC0414 (methods take it from here)
from everychip.tasks.divergence import full_precision as full_precision  # noqa: PLC0414


def cross_entropy(
    logits: Float[Tensor, "*batch classes"], labels: Int[Tensor, "*batch"], *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean cross-entropy over every labelled position, in float32 where the logits have half precision.

    >>> import torch
    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """
    flat = full_precision(logits.reshape(-1, logits.shape[-1]))
    return F.cross_entropy(flat, labels.reshape(-1), label_smoothing=label_smoothing)


def negative_feedback(
    backbone: Float[Tensor, "*batch classes"],
    feedback: Sequence[Float[Tensor, "*batch classes"]],
    *,
    beta: float,
    decay: float = 0.1,
    backbone_share: float | None = None,
    feedback_share: float | None = None,
) -> Float[Tensor, "*batch classes"]:
    """The logits that the objective sees: a_b·z − a_f·β·Σ γ_n·z_n with γ_n = decay^(n−1).

    backbone: z. feedback: z_1 … z_N. beta: β. decay: the ratio of γ_{n+1} to γ_n. backbone_share,
    feedback_share: a_b and a_f, both 1/(N+1) unless given.

    Source: Qin et al., arXiv 2305.14561; a_b, a_f and γ as in the authors' code.

    >>> import torch
    >>> negative_feedback(torch.tensor([4.0]), [torch.tensor([1.0])], beta=1.0)
    tensor([1.5000])
    """
    share = 1 / (len(feedback) + 1)
    a_b = share if backbone_share is None else backbone_share
    a_f = share if feedback_share is None else feedback_share
    z = full_precision(backbone)
    total = torch.zeros_like(z)
    for n, z_n in enumerate(feedback):
        total = total + decay**n * full_precision(z_n)
    return a_b * z - a_f * beta * total
