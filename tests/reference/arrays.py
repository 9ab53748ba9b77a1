"""An array read tile by tile in explicit loops, in float64: DAC, partial sums, ADC, digital addition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def convert(values: Tensor, full: float, bits: int | None) -> Tensor:
    """Uniform, symmetric, of 2^(b-1) - 1 steps for either sign, clipped at the range."""
    if bits is None or full == 0:
        return values
    step = full / (2 ** (bits - 1) - 1)
    return (values / step).round().clamp(-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) * step


def read_matrix(
    x: Tensor, w: Tensor, *, rows: int, columns: int, dac: int | None = None, adc: int | None = None,
    full_inputs: float | None = None, full_sums: list[list[float]] | None = None,
) -> Tensor:  # fmt: skip
    """x [n, in] times w [out, in]ᵀ; ranges are the largest values of this read unless they are given."""
    inputs = convert(x, float(x.abs().max()) if full_inputs is None else full_inputs, dac)
    y = torch.zeros(x.shape[0], w.shape[0], dtype=torch.float64)
    for i, top in enumerate(range(0, w.shape[1], rows)):
        for j, left in enumerate(range(0, w.shape[0], columns)):
            tile = w[left : left + columns, top : top + rows]
            sums = inputs[:, top : top + rows] @ tile.T
            full = float(sums.abs().max()) if full_sums is None else full_sums[i][j]
            y[:, left : left + columns] += convert(sums, full, adc)
    return y


def read_convolution(
    x: Tensor, w: Tensor, *, rows: int, columns: int, dac: int | None, adc: int | None,
    groups: int = 1, **geometry: int,
) -> Tensor:  # fmt: skip
    """A 2d convolution as the matrix product of its patches, whole input channels on each tile."""
    out, size = F.conv2d(x, w, groups=groups, **geometry).shape, w.shape[2] * w.shape[3]
    # The DAC stands before the array, so its range is that of the whole input and not of a patch.
    x = convert(x, float(x.abs().max()), dac)
    patches = F.unfold(x, w.shape[2:], **geometry)
    per_tile = rows // size * size if rows >= size else rows
    images = []
    for g in range(groups):
        own = patches.reshape(x.shape[0], groups, -1, patches.shape[-1])[:, g]
        part = own.permute(0, 2, 1).reshape(-1, own.shape[1])
        kernel = w.reshape(groups, -1, own.shape[1])[g]
        if rows >= size:
            y = read_matrix(part, kernel, rows=per_tile, columns=columns, adc=adc)
        else:  # one channel alone has more positions than a tile has rows
            channels = range(0, own.shape[1], size)
            y = sum(
                read_matrix(
                    part[:, c : c + size], kernel[:, c : c + size], rows=rows, columns=columns, adc=adc
                )
                for c in channels
            )
        images.append(y.reshape(x.shape[0], -1, y.shape[-1]).permute(0, 2, 1))
    return torch.cat(images, dim=1).reshape(out)
