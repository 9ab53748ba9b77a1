"""What a crossbar holds of a programmed weight: noisy numbers and, where there is an array, its tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from everychip.array import Array, Cells, InputRange, tiled
from everychip.hardware.hardware import Hardware
from everychip.mapping.columns import Columns
from everychip.network.straight_through import with_clean_gradient

RngAt = Callable[..., torch.Generator]
"""A fresh generator of a weight, at what follows its own address."""


def written(
    name: str,
    weight: Tensor,
    target: Tensor,
    deviation: Tensor,
    hardware: Hardware,
    rng_at: RngAt,
    columns: Columns,
    *,
    strength: float,
    clean: bool,
    dac: InputRange | None = None,
) -> Tensor:
    """The weight as the crossbar computes with it: target + strength·deviation, on tiles where there are any.

    rng_at: the generators of the weight's draws. clean: whether backward sees the target, not the noise.
    dac: the learned range of its DACs.
    """
    noisy = strided_as(weight, torch.add(target, deviation, alpha=strength).to(weight.dtype))
    if hardware.array is not None:
        cells = _cells(name, weight, noisy, hardware, rng_at, columns, strength=strength)
        return tiled(target.to(weight.dtype) if clean else noisy, replace(cells, dac=dac))
    return with_clean_gradient(target.to(weight.dtype), noisy) if clean else noisy


def _cells(
    name: str,
    weight: Tensor,
    noisy: Tensor,
    hardware: Hardware,
    rng_at: RngAt,
    columns: Columns,
    *,
    strength: float,
) -> Cells:
    """What the tiles hold of a programmed weight: all of it or, where digits are converted, each slice."""
    array, mapping = hardware.array or Array(), hardware.mapping
    reads = rng_at("read") if array.is_noisy else None
    with torch.no_grad():
        exact = full_precision(weight)
        if not mapping.has_digits or array.shift_add == "analog":
            unit = exact.abs().amax() if columns.full is None else columns.full.amax()
            return Cells(name, (noisy.detach(),), (unit,), array, rng=reads)
        slices = mapping.slices(exact, hardware.device, rng_at(), columns=columns)
        held = (torch.add(s.target, s.deviation, alpha=strength).to(weight.dtype) for s in slices)
        return Cells(
            name,
            tuple(strided_as(weight, one) for one in held),
            tuple(s.unit for s in slices),
            array,
            rng=reads,
        )


def strided_as(weight: Tensor, noisy: Tensor) -> Tensor:
    """The noisy weight with the weight's strides where the dimensions of size 1 leave them free.

    Kernels read the memory format from those, too: a convolution of one input channel whose weight says
    "contiguous" takes the network out of channels-last up to the next layer.
    """
    given, wanted = noisy.stride(), weight.stride()
    free = all(n == 1 or a == b for n, a, b in zip(noisy.shape, given, wanted, strict=True))
    return noisy.as_strided(noisy.shape, wanted) if free and given != wanted else noisy


def full_precision(weight: Tensor) -> Tensor:
    """Half-precision weights in float32: their own digits are too few for steps and deviations."""
    return weight.float() if weight.dtype in (torch.bfloat16, torch.float16) else weight
