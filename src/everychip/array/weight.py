"""A weight on an array: a tensor whose products are carried out tile by tile."""

from __future__ import annotations

import re
import types as python
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from everychip.array.cells import Cells
from everychip.array.table import CELLWISE, FACTORS, READS, VIEWS
from everychip.errors import ArrayError


class TiledWeight(Tensor):
    """A weight whose products with plain tensors are reads of its tiles.

    Its own values are those that gradients see. Functions that only move its numbers about (a transpose, a
    split, a cast) give a weight on tiles again; functions built of others (attention) are run through, so
    that the products inside are caught; whatever else would give a tensor is refused: it would be computed
    as if there were no converters.
    """

    cells: Cells

    def __reduce_ex__(self, protocol: Any) -> Any:
        return tiled, (plain(self).detach(), self.cells)

    def __deepcopy__(self, memo: dict[int, Any]) -> TiledWeight:
        return tiled(deepcopy(plain(self), memo), deepcopy(self.cells, memo))

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in READS and func not in VIEWS and (inside := _opened(func)):
            return inside(*args, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            if func in READS:
                named = [kwargs[name] for name in FACTORS if name in kwargs]
                options = {name: value for name, value in kwargs.items() if name not in FACTORS}
                return READS[func](*args, *named, **options)
            if func in VIEWS:
                return _moved(func, args, kwargs)
            if func in CELLWISE:
                return CELLWISE[func](*args, **kwargs)
            return _plain_value(func, args, kwargs)


def tiled(weight: Tensor, cells: Cells) -> TiledWeight:
    """Put a weight on tiles.

    >>> from everychip.array import Array
    >>> cells = Cells("weight", (torch.eye(2),), (torch.ones(()),), Array(dac_bits=2))
    >>> torch.nn.functional.linear(torch.tensor([[1.0, 0.4]]), tiled(torch.eye(2), cells))
    tensor([[1., 0.]])
    """
    made = weight.as_subclass(TiledWeight)
    made.cells = cells
    return made


def plain(weight: Tensor) -> Tensor:
    """The tensor itself, without its tiles."""
    return weight.as_subclass(Tensor) if isinstance(weight, TiledWeight) else weight


_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@cache
def _opened(func: Any) -> Callable[..., Any] | None:
    """A function of torch.nn.functional that is written in Python, without the check that led here.

    Its own code runs with the very arguments, so that the linear layers inside attention come back to us.
    """
    if not isinstance(func, python.FunctionType) or func.__module__ != "torch.nn.functional":
        return None
    unchecked = {name: lambda *_: False for name in _CHECKS}
    opened = python.FunctionType(
        func.__code__, {**func.__globals__, **unchecked}, func.__name__, func.__defaults__, func.__closure__
    )
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


def _moved(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Numbers moved about: the same is done to what gradients see and to every slice."""
    source = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, TiledWeight))
    if any(type(leaf) is Tensor and leaf.is_floating_point() for leaf in tree_leaves((args, kwargs))):
        raise refused(func, source)

    def through(pick: Callable[[TiledWeight], Tensor]) -> Any:
        return func(*tree_map_only(TiledWeight, pick, args), **tree_map_only(TiledWeight, pick, kwargs))

    base = through(plain)
    slices = [through(lambda w, i=i: w.cells.slices[i]) for i in range(len(source.cells.slices))]  # type: ignore[misc]
    if isinstance(base, Tensor):
        return _part(base, tuple(slices), source)
    parts = zip(base, *slices, strict=True)
    return tuple(_part(piece, tuple(held), source) for piece, *held in parts)


def _part(piece: Tensor, slices: tuple[Tensor, ...], source: TiledWeight) -> TiledWeight:
    cells, name = source.cells, None
    if piece.numel() != source.numel():
        name = f"{cells.name}@{piece.storage_offset()}"
    return tiled(piece, cells.with_slices(slices, name=name))


def _plain_value(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What is known of a weight: its shape, type, place. Its numbers in any other form are refused."""
    leaves = tree_leaves((args, kwargs))
    weights = [leaf for leaf in leaves if isinstance(leaf, TiledWeight)]
    result = func(*tree_map_only(TiledWeight, plain, args), **tree_map_only(TiledWeight, plain, kwargs))
    harmless = func in _HOOKS or getattr(func, "__name__", "") == "__get__"
    for leaf in tree_leaves(result):
        # Nothing is returned by what writes the weight elsewhere, as `t[:] = w` does.
        if isinstance(leaf, Tensor) or not (harmless or isinstance(leaf, _KNOWN)):
            raise refused(func, weights[0])
    return result


_HOOKS = (Tensor.register_hook, Tensor.retain_grad, Tensor.backward)
_KNOWN = (bool, int, str, torch.Size, torch.dtype, torch.device, torch.layout, torch.memory_format)


def refused(func: Callable[..., Any], weight: TiledWeight) -> ArrayError:
    """A function that the array has no tiles for."""
    name = re.sub(r"(@\d+)+$", "", weight.cells.name)  # a part of a weight has a number behind its name
    return ArrayError(
        name,
        found=f"{getattr(func, '__name__', func)}, which an array does not carry out",
        expected="linear, convolution, matmul, attention or an embedding",
        remedy=f'keep the layer digital, hardware.digital = ["{name}"], or leave [hardware.array] out',
    )
