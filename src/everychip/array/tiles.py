"""How a matrix of products is laid on tiles: its inputs on their rows, its outputs on their columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from everychip.array.product import Product


@dataclass(frozen=True)
class RowOfTiles:
    """The inputs that share a row of tiles: channels start … stop of every group, at some kernel positions.

    positions: of the flattened kernel, where a single channel has more of them than a tile has rows.
    """

    start: int
    stop: int
    positions: tuple[int, int] | None = None

    def of_inputs(self, x: Tensor, product: Product) -> Tensor:
        """The part of the inputs [n, channels, ...] that these tiles meet."""
        if product.groups == 1:
            return x.narrow(1, self.start, self.stop - self.start)
        by_group = x.reshape(x.shape[0], product.groups, -1, *x.shape[2:])
        return by_group.narrow(2, self.start, self.stop - self.start).flatten(1, 2)

    def of_weight(self, weight: Tensor, product: Product) -> Tensor:
        """The part of the weight that these tiles hold, zero at the kernel positions of others."""
        if product.transposed:
            by_group = weight.reshape(product.groups, -1, *weight.shape[1:])
            part = by_group.narrow(1, self.start, self.stop - self.start).flatten(0, 1)
        else:
            part = weight.narrow(1, self.start, self.stop - self.start)
        if self.positions is None:
            return part
        kernel = torch.zeros(prod(weight.shape[2:]), dtype=weight.dtype, device=weight.device)
        kernel[slice(*self.positions)] = 1
        return part * kernel.reshape(weight.shape[2:])


@dataclass(frozen=True)
class Tiling:
    """The tiles of one matrix. columns: how many output channels stand on each column of tiles."""

    rows: tuple[RowOfTiles, ...]
    columns: tuple[int, ...]

    def per_output(self, values: Tensor) -> Tensor:
        """A value for each column of tiles, repeated for each of its output channels."""
        if len(self.columns) == 1:
            return values.expand(self.columns[0])
        sizes = torch.tensor(self.columns, device=values.device)
        return values.repeat_interleave(sizes, output_size=sum(self.columns))


def tiling(product: Product, weight: Tensor, *, rows: int, columns: int) -> Tiling:
    """Lay a weight on tiles of rows × columns, as many input channels on each as fit, in their order.

    >>> tiling(Product(dims=2), torch.zeros(300, 64, 3, 3), rows=256, columns=256).columns
    (256, 44)
    >>> [row.stop for row in tiling(Product(dims=2), torch.zeros(8, 64, 3, 3), rows=256, columns=256).rows]
    [28, 56, 64]
    """
    inputs, positions = product.inputs(weight), prod(weight.shape[2:])
    channels = rows // positions
    if channels:
        cuts = [*range(0, inputs, channels), inputs]
        split = [RowOfTiles(start, stop) for start, stop in pairwise(cuts)]
    else:
        parts = [(p, min(p + rows, positions)) for p in range(0, positions, rows)]
        split = [RowOfTiles(c, c + 1, part) for c in range(inputs) for part in parts]
    outputs = product.outputs(weight)
    sizes = [min(columns, outputs - start) for start in range(0, outputs, columns)]
    return Tiling(tuple(split), tuple(sizes * product.groups))
