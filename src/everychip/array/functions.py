"""Torch's functions by what they do with a weight on tiles: read it, move its numbers about, or scale it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from everychip.array.converters import codes, largest, step
from everychip.array.product import Product
from everychip.array.read import Read
from everychip.array.table import carries_out, carries_out_in_dims
from everychip.array.weight import TiledWeight, plain, refused, tiled
from everychip.devices.base import standard_normal

T = Tensor


@carries_out(F.linear)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b; the bias is added digitally."""
    _must_be_the_weight(F.linear, x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    return _with_bias(_read(rows, weight, Product()), bias).reshape(*x.shape[:-1], weight.shape[0])


@carries_out_in_dims(torch.conv1d, torch.conv2d, torch.conv3d)
def convolve(
    dims: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution of images of so many dimensions."""
    _must_be_the_weight(torch.conv2d, x, weight, bias)
    spread = _each(dilation, dims)
    if isinstance(padding, str):
        x, padding = _padded(x, padding, weight.shape[2:], spread)
    product = Product(dims, _each(stride, dims), _each(padding, dims), spread, (0,) * dims, groups)
    return _on_batch(x, weight, bias, product)


@carries_out_in_dims(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
def convolve_back(
    dims: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """A transposed convolution: one of the inputs with zeros between them, so that its sums are those."""
    _must_be_the_weight(torch.conv_transpose2d, x, weight, bias)
    steps, around, spread, added = (_each(v, dims) for v in (stride, padding, dilation, output_padding))
    return _on_batch(x, weight, bias, Product(dims, steps, around, spread, added, groups, transposed=True))


@carries_out(torch.matmul, torch.mm, torch.mv, torch.bmm, T.matmul, T.mm, T.mv, T.bmm, T.__matmul__)
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a·b with the weight on either side; a stack of matrices is a weight for each."""
    if isinstance(a, TiledWeight):
        _must_be_the_weight(torch.matmul, b, a)
        if b.ndim == 1:
            return linear(b, a)
        return matmul(b.mT, _turned(a)).mT
    _must_be_the_weight(torch.matmul, a, b)
    if b.ndim == 2:
        return linear(a, _turned(b))
    if b.ndim != 3 or a.ndim > 3:
        raise refused(torch.matmul, b)  # type: ignore[arg-type]
    rows = a.expand(b.shape[0], *a.shape[-2:])
    return torch.stack([linear(x, _turned(w)) for x, w in zip(rows, _each_of(b), strict=True)])


@carries_out(T.__rmatmul__)
def matmul_from_the_right(b: Tensor, a: Tensor) -> Tensor:
    """a·b, as Python calls it where a does not know how."""
    return matmul(a, b)


@carries_out(torch.addmm, T.addmm, torch.baddbmm, T.baddbmm)
def add_matmul(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·bias + alpha·a·b."""
    if isinstance(bias, TiledWeight):
        raise refused(torch.addmm, bias)
    product = matmul(a, b)
    return product.mul(alpha).add(bias, alpha=beta) if (alpha, beta) != (1, 1) else product + bias


@carries_out(F.embedding)
def embedding(
    indices: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    *options: Any,
    **named: Any,
) -> Tensor:
    """A look-up is a one-hot read of one row: each number through an ADC whose range is max|W|."""
    if not isinstance(weight, TiledWeight) or max_norm is not None:
        raise refused(F.embedding, weight)  # type: ignore[arg-type]
    cells, array = weight.cells, weight.cells.array
    with torch.no_grad():
        total = torch.zeros((), device=weight.device)
        for held, cell in zip(cells.slices, cells.units, strict=True):
            read = F.embedding(indices, held).to(torch.promote_types(held.dtype, torch.float32))
            if array.read_noise and cells.rng is not None:
                read += standard_normal(read, cells.rng) * (array.read_noise * cell)
            if array.adc_bits is not None:
                unit = step(largest(held).to(read.dtype), array.adc_bits)
                read = read / unit
                if array.adc_noise and cells.rng is not None:
                    read += standard_normal(read, cells.rng) * array.adc_noise
                read = codes(read, array.adc_bits, clip=True) * unit
            total = total + read
    looked_up = F.embedding(indices, plain(weight), padding_idx, None, *options, **named)
    return looked_up + (total * cells.gain - looked_up).detach().to(looked_up.dtype)


@carries_out(torch.mul, T.mul, T.__mul__, T.__rmul__, cellwise=True)
def scale(weight: Any, factor: Any) -> Tensor:
    """A number times the weight: a digital factor on what the array gives."""
    if isinstance(factor, TiledWeight):
        weight, factor = factor, weight
    if not isinstance(factor, int | float):
        raise refused(torch.mul, weight)
    return tiled(plain(weight) * factor, replace(weight.cells, gain=weight.cells.gain * factor))


@carries_out(torch.where, cellwise=True)
def choose(condition: Tensor, a: Any, b: Any) -> Tensor:
    """Cells of one programming where the condition holds, of another elsewhere."""
    for one, other in ((a, b), (b, a)):
        if not isinstance(one, TiledWeight):
            raise refused(torch.where, other)
    pairs = zip(a.cells.slices, b.cells.slices, strict=True)
    slices = tuple(torch.where(condition, x, y) for x, y in pairs)
    return tiled(torch.where(condition, plain(a), plain(b)), b.cells.with_slices(slices))


def _read(x: Tensor, weight: Tensor, product: Product) -> Tensor:
    assert isinstance(weight, TiledWeight)
    kind = x.device.type
    base = plain(weight)
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        x, base = x.to(dtype), base.to(dtype)
    if x.numel() == 0:
        return product(x, base)
    with torch.autocast(kind, enabled=False):
        cells = weight.cells
        full = None if cells.dac is None else cells.dac.value
        result: Tensor = Read.apply(x, base, full, cells, product)  # type: ignore[no-untyped-call]
        return result


def _on_batch(x: Tensor, weight: Tensor, bias: Tensor | None, product: Product) -> Tensor:
    """Convolve a batch, or a single image."""
    single = x.ndim == product.dims + 1
    y = _with_bias(_read(x.unsqueeze(0) if single else x, weight, product), bias)
    return y.squeeze(0) if single else y


def _with_bias(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + bias.to(y.dtype).reshape(-1, *[1] * (y.ndim - 2))


def _turned(weight: Tensor) -> TiledWeight:
    """The weight as a linear layer holds it, outputs first."""
    assert isinstance(weight, TiledWeight)
    cells = weight.cells.with_slices(tuple(held.mT for held in weight.cells.slices))
    return tiled(plain(weight).mT, cells)


def _each_of(weight: Tensor) -> list[TiledWeight]:
    """The matrices of a stack, each with a name of its own."""
    assert isinstance(weight, TiledWeight)
    cells = weight.cells
    return [
        tiled(one, cells.with_slices(tuple(held[n] for held in cells.slices), name=f"{cells.name}@{n}"))
        for n, one in enumerate(plain(weight))
    ]


def _must_be_the_weight(func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """One factor is a weight on tiles, the other an activation; anything else has no tiles."""
    for other in (x, bias):
        if isinstance(other, TiledWeight):
            raise refused(func, other)
    assert isinstance(weight, TiledWeight)


def _each(value: Any, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    return tuple(value) * (dims if len(value) == 1 else 1)


def _padded(x: Tensor, how: str, kernel: torch.Size, dilation: tuple[int, ...]) -> tuple[Tensor, int]:
    """Images with "same" or "valid" padding around them."""
    if how == "valid":
        return x, 0
    sides: list[int] = []
    for size, spread in zip(reversed(kernel), reversed(dilation), strict=True):
        missing = spread * (size - 1)
        sides += [missing // 2, missing - missing // 2]
    return F.pad(x, sides), 0
