"""How far apart chips are in what they predict: three divergences over a stack of chips, each under its name.

All are in nats and averaged over images. All fall to 0 when a network collapses, since every chip then says
the same, so none is shown without accuracy. Averaging predictions over chips is an ensemble, not a chip.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.errors import DataError, SampleSizeError


def expected_kl_to_clean(
    probabilities: Float[Tensor, "chips images classes"], *, clean: Float[Tensor, "images classes"]
) -> float:
    """Mean over chips of KL(p_chip ‖ p_clean), the distance to the network without device noise.

    Infinite if a chip gives probability to a class the clean network excludes.

    >>> half, sure = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]])
    >>> round(expected_kl_to_clean(torch.stack([sure, sure]), clean=half), 6)
    0.693147
    """
    p = _distributions(probabilities, "probabilities", dimensions=3)
    q = _distributions(clean, "clean", dimensions=2)
    if p.shape[1:] != q.shape:
        raise DataError(
            "expected_kl_to_clean",
            found=f"chips of {list(p.shape[1:])} beside a clean network of {list(q.shape)}",
            expected="the same images and classes",
        )
    return _positive(_kl(p, q))


def kl_to_mean_prediction(probabilities: Float[Tensor, "chips images classes"]) -> float:
    """Mean over chips of KL(p_chip ‖ p̄), p̄ the mean over chips: the mutual information of class and chip.

    Equal to the entropy of p̄ less the mean entropy of the chips; at most ln(chips).
    Source: Gal, thesis (2016), §3.3.1; Lin, IEEE Trans. Inf. Theory 37 (1991), eq. 5.1.

    >>> p = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> round(kl_to_mean_prediction(p), 6)
    0.693147
    """
    p = _distributions(probabilities, "probabilities", dimensions=3)
    return _positive(_kl(p, p.mean(dim=0)))


def pairwise_kl(probabilities: Float[Tensor, "chips images classes"]) -> float:
    """Mean of KL(p_i ‖ p_j) over ordered pairs of different chips.

    Source: Malinin et al., ICLR 2020 (ensemble distribution distillation), expected pairwise KL.

    >>> p = torch.tensor([[[0.8, 0.2]], [[0.2, 0.8]]])
    >>> round(pairwise_kl(p), 6)
    0.831777
    """
    p = _distributions(probabilities, "probabilities", dimensions=3)
    chips = len(p)
    if chips < 2:
        raise SampleSizeError("pairwise_kl", found=f"{chips} chip", expected="at least 2")
    # Σ_ij KL(p_i ‖ p_j) = chips·Σ_i Σ_c p ln p − Σ_c (Σ_i p_i)(Σ_j ln p_j): work linear in the chips.
    total = p.sum(dim=0)
    crossed = torch.where(total > 0, total * p.log().sum(dim=0), 0.0)
    own = torch.xlogy(p, p).sum(dim=0) * chips
    return _positive((own - crossed).sum(dim=-1) / (chips * (chips - 1)))


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(dim=-1)


def _positive(divergence: Tensor) -> float:
    # Rounding may leave −1e−17 where chips agree.
    return max(float(divergence.mean()), 0.0)


def _distributions(values: Tensor, name: str, *, dimensions: int) -> Tensor:
    p = values.detach().cpu().double()
    if p.ndim != dimensions or 0 in p.shape:
        shape = "[chips, images, classes]" if dimensions == 3 else "[images, classes]"
        raise DataError(name, found=f"a tensor {list(p.shape)}", expected=shape)
    off = (p.sum(dim=-1) - 1).abs()
    if not bool(p.isfinite().all()) or bool((p < 0).any()) or bool((off > 1e-3).any()):
        raise DataError(
            name, found="rows that are no probabilities", expected="logits.softmax(-1) of finite logits"
        )
    return p / p.sum(dim=-1, keepdim=True)
