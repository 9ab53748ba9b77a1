"""How far one network's answers are from another's: pure functions of logits and of predictions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def full_precision(logits: Tensor) -> Tensor:
    """Logits of half precision in float32, others as they are.

    >>> full_precision(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def divergence(
    true: Float[Tensor, "*batch classes"], other: Float[Tensor, "*batch classes"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    """KL(softmax(t/T) ‖ softmax(z/T)), the mean over every position. true: t. other: z. temperature: T.

    >>> divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    tensor(0.1201)
    """
    t, z = (full_precision(x.reshape(-1, x.shape[-1])) / temperature for x in (true, other))
    return F.kl_div(z.log_softmax(-1), t.log_softmax(-1), reduction="batchmean", log_target=True)


def divergence_of_labels(
    true: Float[Tensor, "*labels"], other: Float[Tensor, "*labels"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    """KL of labels, each true or not by itself: p·ln(p/q) + (1−p)·ln((1−p)/(1−q)), the mean over all.

    true: t, other: z, in logits; p = σ(t/T), q = σ(z/T). temperature: T.

    >>> divergence_of_labels(torch.tensor([[0.0]]), torch.tensor([[2.0]]), temperature=2.0)
    tensor(0.1201)
    """
    both = [torch.stack([x, torch.zeros_like(x)], -1) for x in (true, other)]
    return divergence(*both, temperature=temperature)
