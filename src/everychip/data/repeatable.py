"""Whether a data set gives the same items whenever it is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, IterableDataset

from everychip.errors import DataError
from everychip.rng import seeded_global_generator

_ITEMS = 64


def must_be_repeatable(data: Any) -> None:
    """Refuse a loader or data set whose items change from one read to the next, as random transforms do.

    Training reads the data once and keeps it: it would see the transforms of that one read for ever. As many
    as 64 items are read twice.

    >>> must_be_repeatable(torch.utils.data.TensorDataset(torch.zeros(3, 2), torch.arange(3)))
    """
    dataset = data.dataset if isinstance(data, DataLoader) else data
    if not isinstance(dataset, Dataset) or isinstance(dataset, IterableDataset):
        return
    for index in range(min(_ITEMS, len(dataset))):  # type: ignore[arg-type]
        reads = []
        for again in range(2):
            with seeded_global_generator(0, "data", "repeat", index, again):
                reads.append(tree_leaves(dataset[index]))
        if not all(_same(one, other) for one, other in zip(*reads, strict=False)):
            raise DataError(
                "data",
                found=f"item {index} changed between two reads, as random transforms change it",
                expected="the same items at every read: they are read once and kept for all epochs",
                remedy="leave the transform out and train with augment = …, or write the loop yourself with "
                "method.bind",
            )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    same = one == other
    return bool(same.all()) if hasattr(same, "all") else bool(same)
