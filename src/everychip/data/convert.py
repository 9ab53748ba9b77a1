"""Whatever a user has — tensors, numpy arrays, a loader, a data set — as Arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from everychip.data.base import Data
from everychip.data.values import Arrays, Splits
from everychip.errors import DataError
from everychip.rng import seeded_global_generator

_ACCEPTED = "(x, y) tensors or numpy arrays, a DataLoader, a torch Dataset, one of everychip.data, or Arrays"


def arrays(x: Any, y: Any) -> Arrays:
    """Inputs and labels, tensors or numpy arrays, as checked Arrays; numpy's float64 becomes float32.

    Args:
        x: inputs [n, …].
        y: labels [n].

    Returns:
        The checked pair.

    >>> len(arrays(np.zeros((2, 4)), [0, 1]))
    2
    """
    return Arrays(_tensor(x, where="x"), _tensor(y, where="y"))


def as_arrays(data: Any, *, split: Literal["train", "test"] | None = None, where: str = "data") -> Arrays:
    """Anything that holds inputs and labels, as Arrays; a data set of two splits needs `split`.

    A loader or a torch Dataset is gone through once and kept; the global generator does not move.

    Args:
        data: (x, y), a DataLoader, a torch Dataset, an `everychip.data` component or Arrays.
        split: "train" or "test", of data that has both.
        where: what errors call the data.

    Returns:
        The pair of inputs and labels.

    >>> len(as_arrays((torch.zeros(2, 4), torch.tensor([0, 1]))))
    2
    >>> len(as_arrays(Data.parse("digits"), split="test"))
    540
    """
    if isinstance(data, Arrays):
        return data
    if isinstance(data, Data):
        data = data.load()
    if isinstance(data, Splits):
        return _split(data, split)
    if isinstance(data, tuple | list) and len(data) == 2:
        return arrays(data[0], data[1])
    if isinstance(data, DataLoader):
        batched = data.batch_size is not None or data.batch_sampler is not None
        return _gather(data, batched=batched, where=where)
    if isinstance(data, Dataset):
        return _gather(_examples(data, where), batched=False, where=where)
    raise DataError(where, found=f"a {type(data).__name__}", expected=_ACCEPTED)


def _split(splits: Splits, split: str | None) -> Arrays:
    if split not in ("train", "test"):
        raise DataError(
            splits.name,
            found="a data set of two splits" if split is None else f"split={split!r}",
            expected="split='train' or split='test'",
        )
    return splits.train if split == "train" else splits.test


def _examples(dataset: Dataset[Any], where: str) -> Iterable[Any]:
    if isinstance(dataset, IterableDataset):
        return dataset
    if not hasattr(dataset, "__len__"):
        raise DataError(where, found=f"{type(dataset).__name__} without a length", expected="a __len__")
    return _indexed(dataset, len(dataset))


def _indexed(dataset: Dataset[Any], length: int) -> Iterator[Any]:
    for index in range(length):
        yield dataset[index]


def _gather(source: Iterable[Any], *, batched: bool, where: str) -> Arrays:
    inputs: list[Tensor] = []
    labels: list[Tensor] = []
    with seeded_global_generator(0, "data", "gather"):
        for item in source:
            if not (isinstance(item, tuple | list) and len(item) == 2):
                raise DataError(
                    where, found=f"items that are a {type(item).__name__}", expected="pairs (x, y)"
                )
            inputs.append(_tensor(item[0], where="x"))
            labels.append(_tensor(item[1], where="y"))
    if not inputs:
        raise DataError(where, found="no items", expected="at least one input with its label")
    try:
        if batched:
            return Arrays(torch.cat(inputs), torch.cat(labels))
        return Arrays(torch.stack(inputs), torch.stack(labels))
    except RuntimeError as error:
        raise DataError(where, found=f"inputs of different shapes ({error})", expected="one shape") from None


def _tensor(value: Any, *, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            where, found=f"a {type(value).__name__} ({error})", expected="a tensor or a numpy array"
        ) from None
    return tensor.float() if tensor.dtype == torch.float64 else tensor
