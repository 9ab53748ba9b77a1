"""Whatever a user has — tensors, numpy arrays, a loader, a data set, a table of the hub — as examples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from everychip.data.base import Data
from everychip.data.columns import columns, has_splits, is_table, one_split
from everychip.data.examples import Examples
from everychip.data.inputs import joined, leaves
from everychip.data.named import named
from everychip.data.pairs import pair_of, stacked, tensor_of, tensors_of
from everychip.data.stream import Stream
from everychip.data.values import Arrays, Splits
from everychip.errors import DataError
from everychip.rng import seeded_global_generator

Split = Literal["train", "test"]
_ACCEPTED = (
    "(x, y) tensors or numpy arrays, a DataLoader, a torch Dataset, a Dataset or DatasetDict of the hub, "
    "one of everychip.data, or Arrays"
)


def arrays(x: Any, y: Any) -> Arrays:
    """Inputs and labels, tensors or numpy arrays, as checked Arrays; numpy's float64 becomes float32.

    Args:
        x: inputs [n, …].
        y: labels [n].

    Returns:
        The checked pair.

    >>> import numpy as np
    >>> len(arrays(np.zeros((2, 4)), [0, 1]))
    2
    """
    several = isinstance(x, Mapping | tuple)
    return Arrays(tensors_of(x, where="x") if several else tensor_of(x, where="x"), tensor_of(y, where="y"))


def as_arrays(data: Any, *, split: Split | None = None, where: str = "data") -> Arrays:
    """Anything that holds inputs and class labels, as Arrays; a data set of two splits needs `split`.

    A loader or a torch Dataset is gone through once and kept; the global generator does not move.

    Args:
        data: (x, y), a DataLoader, a torch Dataset, an `everychip.data` component or Arrays.
        split: "train" or "test", of data that has both.
        where: what errors call the data.

    Returns:
        The pair of inputs and labels.

    >>> import torch
    >>> len(as_arrays((torch.zeros(2, 4), torch.tensor([0, 1]))))
    2
    >>> len(as_arrays(Data.parse("digits"), split="test"))
    540
    """
    if isinstance(data, Arrays):
        return data
    if _is_pair(data):
        return arrays(data[0], data[1])
    found = as_examples(data, split=split, where=where)
    return found if isinstance(found, Arrays) else Arrays(found.x, found.y)


def as_examples(
    data: Any, *, split: str | None = None, labelled: bool = True, where: str = "data"
) -> Examples:
    """Anything that holds inputs and targets of any kind, as Examples.

    Args:
        data: (x, y) of tensors, arrays, tuples or dicts of them; two such pairs, for training and test, or
            {"train": …, "test": …} of any of these forms; a DataLoader or torch Dataset of pairs or dicts; a
            Dataset or DatasetDict of the hub or a pandas frame (`columns` names what is read); a component
            of `everychip.data`, or its kind.
        split: "train" or "test", where there are both.
        labelled: False takes inputs alone, too.
        where: what errors call the data.

    Returns:
        The inputs with their targets.

    >>> import torch
    >>> len(as_examples(({"ids": torch.zeros(2, 4), "mask": torch.ones(2, 4)}, torch.zeros(2, 3))))
    2
    """
    if isinstance(data, Examples):
        return data
    _refuse_unkept(data, split=split, where=where)
    if isinstance(data, str | os.PathLike):
        data = named(data, where=where)
    if isinstance(data, Data):
        data = data.load()
    if isinstance(data, Splits):
        return _split(data, split)
    if _is_two_splits(data) or has_splits(data):
        part = one_split(data, split) if has_splits(data) else data[0 if split == "train" else 1]
        return as_examples(part, split=split, labelled=labelled, where=where)
    if is_table(data):
        return columns(data, split=split, labelled=labelled)
    if isinstance(data, DataLoader):
        return _gather(data, batched=_has_batches(data), labelled=labelled, where=where)
    if isinstance(data, Dataset):
        return _gather(_items(data, where), batched=False, labelled=labelled, where=where)
    if _is_pair(data) or isinstance(data, Mapping) or (not labelled and isinstance(data, Tensor)):
        x, y = pair_of(data, labelled=labelled, where=where)
        return Examples(tensors_of(x, where="x"), None if y is None else tensors_of(y, where="y"))
    raise DataError(where, found=f"a {type(data).__name__}", expected=_ACCEPTED, remedy=_remedy(data))


def _remedy(data: Any) -> str | None:
    """What makes one of the accepted forms of a value that people have."""
    if hasattr(data, "to_pandas"):  # of polars, of pyarrow
        return "data.to_pandas()"
    if hasattr(data, "__next__"):  # a generator, a zip
        return "list(data) if it yields single items, ec.data.Stream(the function that makes it) if batches"
    if isinstance(data, list) and data and isinstance(data[0], tuple | Mapping):
        return "torch.utils.data.default_collate(items) of single items, ec.data.Stream(batches) of batches"
    return None


def as_calibration(data: Any, *, where: str = "calibration") -> Examples:
    """The training part of anything that holds inputs, with or without labels; class labels are checked.

    Args:
        data: in any form that `as_examples` takes, or inputs alone.
        where: what errors call the data.

    Returns:
        The inputs, with their labels where there are any.

    >>> import torch
    >>> as_calibration(torch.zeros(3, 2)).y is None
    True
    """
    found = as_examples(data, split="train", labelled=False, where=where)
    y = found.y
    classes = isinstance(y, Tensor) and y.ndim == 1 and not (y.is_floating_point() or y.is_complex())
    return Arrays(found.x, y) if classes and not isinstance(found, Arrays) else found


def _refuse_unkept(data: Any, *, split: str | None, where: str) -> None:
    """Refuse what is read batch by batch or row by row where memory must hold it."""
    if isinstance(data, Stream):
        raise DataError(
            where,
            found="a Stream, of which nothing is kept",
            expected="data that memory holds",
            remedy="train from a stream in a loop of your own: Method.bind(…), objective.after_step()"
            if split == "train" and where == "data"
            else "some of its inputs, as tensors",
        )
    if _is_endless_table(data):
        raise DataError(
            where,
            found=f"a {type(data).__name__}, which is read row by row",
            expected="data that memory holds, or a Stream",
            remedy="ec.data.Stream(DataLoader(data, batch_size=…))",
        )


def _is_endless_table(data: Any) -> bool:
    """Whether it is a streaming set of the hub: columns by name, and no length."""
    return hasattr(data, "column_names") and hasattr(data, "__iter__") and not hasattr(data, "__len__")


def _has_batches(loader: DataLoader[Any]) -> bool:
    return loader.batch_size is not None or loader.batch_sampler is not None


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and not _is_two_splits(data)


def _is_two_splits(data: Any) -> bool:
    """Whether these are (x, y) twice, for training and test."""
    if not (isinstance(data, tuple | list) and len(data) == 2):
        return False
    return all(isinstance(part, Examples) or (isinstance(part, tuple) and len(part) == 2) for part in data)


def _split(splits: Splits, split: str | None) -> Examples:
    if split not in ("train", "test"):
        raise DataError(
            splits.name,
            found="a data set of two splits" if split is None else f"split={split!r}",
            expected="split='train' or split='test'",
        )
    return splits.train if split == "train" else splits.test


def _items(dataset: Dataset[Any], where: str) -> Iterable[Any]:
    if isinstance(dataset, IterableDataset):
        return dataset
    if not hasattr(dataset, "__len__"):
        raise DataError(where, found=f"{type(dataset).__name__} without a length", expected="a __len__")
    return _indexed(dataset, len(dataset))


def _indexed(dataset: Dataset[Any], length: int) -> Iterator[Any]:
    for index in range(length):
        yield dataset[index]


def _gather(source: Iterable[Any], *, batched: bool, labelled: bool, where: str) -> Examples:
    inputs: list[Any] = []
    targets: list[Any] = []
    with seeded_global_generator(0, "data", "gather"):
        for item in source:
            x, y = pair_of(item, labelled=labelled, where=where)
            inputs.append(tensors_of(x, where="x"))
            targets.append(None if y is None else tensors_of(y, where="y"))
    if not inputs:
        raise DataError(where, found="no items", expected="at least one input with its label")
    together = joined if batched else stacked
    try:
        x = together(inputs)
        y = None if targets[0] is None else together(targets)
    except RuntimeError as error:
        raise DataError(where, found=f"inputs of different shapes ({error})", expected="one shape") from None
    if not batched and any(isinstance(leaf, list) for leaf in leaves(x)) and isinstance(y, Tensor):
        raise DataError(where, found="inputs of different shapes", expected="one shape")
    return Examples(x, y)
