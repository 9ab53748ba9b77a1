"""Converters between numbers and voltages or currents: symmetric, uniform, of some bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def levels(bits: int) -> int:
    """The steps of a converter for either sign: 2^(b−1) − 1.

    >>> levels(8)
    127
    """
    return int(2 ** (bits - 1) - 1)


def step(full_scale: Tensor, bits: int) -> Tensor:
    """Δ = range / (2^(b−1) − 1); 1 where the range is empty, since nothing but zeros was met there."""
    return torch.where(full_scale > 0, full_scale / levels(bits), torch.ones_like(full_scale))


def codes(values: Tensor, bits: int, *, clip: bool) -> Tensor:
    """Values in units of Δ, in place, as the converter's whole numbers; clip: those beyond its range, too."""
    values.round_()
    return values.clamp_(-levels(bits), levels(bits)) if clip else values


def largest(values: Tensor) -> Tensor:
    """max|v|, a scalar.

    >>> largest(torch.tensor([0.5, -2.0]))
    tensor(2.)
    """
    low, high = _dense(values).aminmax()
    return torch.maximum(high, -low)


def largest_sums(sums: Tensor, columns: Sequence[int], *, percentile: float) -> Tensor:
    """The largest |sum| behind every column of tiles, or the percentile of their magnitudes.

    A percentile is that of about 2^16 sums, evenly spaced.
    """
    if percentile < 100:
        return torch.stack(
            [_percentile(part, percentile) for part in torch.split(sums, list(columns), dim=1)]
        )
    if len(columns) == 1:
        return largest(sums).unsqueeze(0)
    of_channels = sums.abs().amax([dim for dim in range(sums.ndim) if dim != 1])
    return torch.stack([part.amax() for part in torch.split(of_channels, list(columns))])


def _percentile(sums: Tensor, percentile: float) -> Tensor:
    values = sums.flatten()[:: max(1, sums.numel() >> 16)].abs()
    return values.kthvalue(max(1, round(percentile / 100 * values.numel())))[0]


def _dense(values: Tensor) -> Tensor:
    """The same values as a contiguous view where channels-last memory is one, since that is read faster."""
    return values if values.is_contiguous() else values.movedim(1, -1)
