"""Batch norm that trains with the statistics that evaluation will use: those of the population of chips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

MOMENTUM = 0.02
"""The weight of one step's chip in the running statistics: about the last fifty chips count."""


@contextmanager
def population_norm(model: nn.Module, share: float) -> Iterator[None]:
    """Inside, batch norms in training give what their running statistics would, with the usual gradient.

    A batch norm in training divides by its own batch's statistics, and so calibrates away what the noise of
    this step's chip does to them; evaluation has only the running statistics, one set for all chips. With
    r = σ_batch / σ_run and d = (µ_batch − µ_run) / σ_run, taken as constants, ŷ = γ·(x̂·r + d) + β is the
    running statistics' output. share: 0 leaves batch norm as it is, 1 corrects it wholly; between, r is held
    within 1 ± 4·share and d within ± 8·share.

    Source: batch renormalisation, Ioffe 2017, arXiv 1702.03275; its use against chips is this project's.

    >>> norm, x = nn.BatchNorm1d(3), torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> expected = norm.eval()(5 + x)
    >>> with population_norm(norm.train(), 1.0):
    ...     torch.allclose(norm(5 + x), expected, atol=1e-4)
    True
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    norms = [norm for norm in norms if norm.training] if share > 0 else []
    momenta = [norm.momentum for norm in norms]
    handles = []
    for norm in norms:
        norm.momentum = 1.0
        corrected = _Corrected(share)
        handles += [
            norm.register_forward_pre_hook(corrected.before),
            norm.register_forward_hook(corrected.after),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class _Corrected:
    """The two halves of the correction: keep the running statistics before they move, apply it to the output.

    With a momentum of 1 the norm itself leaves its batch's statistics in place of the running ones, so
    nothing has to be summed over the batch a second time.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.running: tuple[Tensor, Tensor] | None = None

    def before(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.running = norm.get_buffer("running_mean").clone(), norm.get_buffer("running_var").clone()

    def after(self, norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        assert self.running is not None
        running_mean, running_var = self.running
        mean, unbiased = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        n, eps = inputs[0].numel() / inputs[0].shape[1], float(norm.eps)  # type: ignore[arg-type]
        scale, limit = (running_var + eps).sqrt(), 1 + 4 * self.share
        r = ((unbiased * (n - 1) / n + eps).sqrt() / scale).clamp(1 / limit, limit)
        d = ((mean - running_mean) / scale).clamp(-8 * self.share, 8 * self.share)
        # Autograd has noted the buffers, which backward in training does not read: move them behind its back.
        mean.data.copy_(torch.lerp(running_mean, mean, MOMENTUM))
        unbiased.data.copy_(torch.lerp(running_var, unbiased, MOMENTUM))
        affine = dict(norm.named_parameters())
        offset = d if not affine else affine["bias"] * (1 - r) + affine["weight"] * d
        shape = (-1, *(1,) * (output.dim() - 2))
        return torch.addcmul(offset.view(shape).to(output.dtype), output, r.view(shape).to(output.dtype))
