"""A batch as a model takes it: one tensor, several by position (a tuple) or by name (a dict), or a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from everychip.errors import DataError, shown

Inputs = Any
"""A tensor [n, …]; a tuple or a dict of such, or of further ones; or a list with one item for each input."""


def batch(value: Any, where: str) -> None:
    """Refuse what is no batch: a tensor, a tuple or a dict of tensors, or a list of items."""
    parts = leaves(value) if isinstance(value, Tensor | tuple | Mapping | list) else []
    if any(isinstance(part, Tensor | list) and not len(part) for part in parts if not _scalar(part)):
        raise DataError(where, found="no input", expected="a batch of at least one")
    if not parts or not all(isinstance(part, Tensor | list) and not _scalar(part) for part in parts):
        raise DataError(
            where, found=shown(value), expected="a batch of inputs: a tensor, or a tuple or dict of them"
        )


def _scalar(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim == 0


def rows_of(x: Inputs) -> int:
    """The number of inputs in a batch.

    >>> rows_of((torch.zeros(3, 2), torch.zeros(3))), rows_of({"a": [1, 2]})
    (3, 2)
    """
    counts = {len(part) if isinstance(part, list) or part.ndim else 0 for part in leaves(x)}
    if len(counts) != 1:
        raise DataError(
            "x",
            found=f"inputs of {sorted(counts)} rows",
            expected="parts of one batch, as long as each other",
        )
    return counts.pop()


def leaves(x: Inputs) -> list[Any]:
    """The tensors and lists of a batch."""
    if isinstance(x, Mapping):
        return [leaf for part in x.values() for leaf in leaves(part)]
    return [leaf for part in x for leaf in leaves(part)] if isinstance(x, tuple) else [x]


def mapped(x: Inputs, change: Callable[[Any], Any]) -> Inputs:
    """The same batch with every tensor and list changed.

    >>> mapped((torch.ones(1), {"a": torch.ones(1)}), lambda part: part + 1)
    (tensor([2.]), {'a': tensor([2.])})
    """
    if isinstance(x, Mapping):
        return {name: mapped(part, change) for name, part in x.items()}
    return tuple(mapped(part, change) for part in x) if isinstance(x, tuple) else change(x)


def taken(x: Inputs, rows: Any) -> Inputs:
    """The rows at indices or of a slice; a copy, but for a slice a view."""

    def part(leaf: Any) -> Any:
        if not isinstance(leaf, list):
            return leaf[rows]
        return leaf[rows] if isinstance(rows, slice) else [leaf[int(row)] for row in rows]

    return mapped(x, part)


def moved(x: Inputs, device: torch.device) -> Inputs:
    """The batch on a device, the tensors in its lists, too."""

    def part(leaf: Any) -> Any:
        if isinstance(leaf, list):
            return [moved(item, device) for item in leaf]
        return leaf.to(device) if isinstance(leaf, Tensor) else leaf

    return mapped(x, part)


def prepared(x: Inputs, device: torch.device, change: Callable[[Any], Any]) -> Inputs:
    """The batch on a device, and every tensor and list of it changed there."""
    return mapped(moved(x, device), change)


def in_batches(x: Inputs, size: int) -> Iterator[Inputs]:
    """The inputs, `size` at a time."""
    if isinstance(x, Tensor):
        yield from torch.split(x, size)
        return
    for start in range(0, rows_of(x), size):
        yield taken(x, slice(start, start + size))


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Batches as one: tensors one after the other, lists appended, dicts and tuples part by part.

    >>> joined([{"a": torch.tensor([1])}, {"a": torch.tensor([2])}])
    {'a': tensor([1, 2])}
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if first.ndim else torch.stack(list(parts))
    if isinstance(first, Mapping):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple):
        return tuple(joined(list(column)) for column in zip(*parts, strict=True))
    if isinstance(first, list):
        return [item for part in parts for item in part]
    raise DataError("data", found=f"parts that are a {type(first).__name__}", expected="tensors")


def shape_of(x: Inputs) -> str:
    """What a line says of a batch.

    >>> shape_of({"a": torch.zeros(2, 3)}), shape_of([1, 2])
    ('{a: [2, 3]}', 'a list of 2')
    """
    if isinstance(x, Mapping):
        return "{" + ", ".join(f"{name}: {shape_of(part)}" for name, part in x.items()) + "}"
    if isinstance(x, tuple):
        return "(" + ", ".join(map(shape_of, x)) + ")"
    return f"a list of {len(x)}" if isinstance(x, list) else str(list(getattr(x, "shape", ())))


def as_call(x: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and keyword arguments of the forward: a tuple is several inputs, a dict names them.

    >>> as_call({"input_ids": 1}), as_call((1, 2)), as_call([1, 2])
    (((), {'input_ids': 1}), ((1, 2), {}), (([1, 2],), {}))
    """
    if isinstance(x, Mapping):
        return (), dict(x)
    return (x, {}) if isinstance(x, tuple) else ((x,), {})
