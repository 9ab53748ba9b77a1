"""Arrays and Splits: inputs with their labels, checked once, when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from everychip.data.examples import Examples, must_be_finite
from everychip.data.inputs import Inputs, leaves
from everychip.errors import DataError

_OTHER_TASKS = (
    'task="multilabel" for several labels an input, "segmentation" or "tokens" for one at every place, '
    '"regression" for numbers'
)


@dataclass(frozen=True, eq=False)
class Arrays(Examples):
    """Inputs and their labels: `x` [n, …] without NaN or infinity, `y` [n] whole numbers ≥ 0.

    Several inputs are a tuple of such tensors, or a dict that names them.

    Labels of any integer type are kept as int64. The tensors are not copied.

    >>> import torch
    >>> pair = Arrays(torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 2]))
    >>> len(pair), len(pair.take([0, 2]))
    (3, 2)
    """

    x: Inputs
    y: Int[Tensor, " n"]

    def __post_init__(self) -> None:
        _check_shapes(self.x, self.y)
        _check_labels(self.y)
        for part in leaves(self.x):
            must_be_finite(part)
        object.__setattr__(self, "y", self.y.long())


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: what may be trained on, what may only be tested on, and how many classes there are.

    Of targets that are no classes, `classes` is how many numbers the network gives for each.
    """

    train: Examples
    test: Examples
    classes: int
    name: str

    def __post_init__(self) -> None:
        for split, arrays in (("train", self.train), ("test", self.test)):
            if isinstance(arrays, Arrays):
                _check_classes(arrays.y, self.classes, where=f"{self.name}.{split}")
        train, test = ([list(leaf.shape[1:]) for leaf in leaves(one.x)] for one in (self.train, self.test))
        if train != test:
            raise DataError(
                f"{self.name}.test",
                found=f"inputs of shape {', '.join(map(str, test))}",
                expected=f"the shape of the training inputs, {', '.join(map(str, train))}",
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, as `Model.build` takes it."""
        return tuple(leaves(self.train.x)[0].shape[1:])


def _check_shapes(x: Inputs, y: Tensor) -> None:
    parts = leaves(x) if isinstance(x, Mapping | tuple) else [x]
    for name, value in (*(("x", part) for part in parts), ("y", y)):
        if not isinstance(value, Tensor):
            raise DataError(
                name,
                found=f"a {type(value).__name__}",
                expected="a tensor",
                remedy="data.as_arrays takes numpy arrays, loaders and data sets too",
            )
    if y.ndim != 1:
        found, remedy = f"labels of shape {list(y.shape)}", _OTHER_TASKS
        if y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all() & (y.sum(1) == 1).all()):
            found, remedy = f"one-hot labels of shape {list(y.shape)}", "y.argmax(1) are their classes"
        if y.ndim == 2 and y.shape[1] == 1:
            remedy = f"y[:, 0] if they are classes; {_OTHER_TASKS}"
        raise DataError("y", found=found, expected="one whole number per input, [n]", remedy=remedy)
    sizes = {len(part) if part.ndim else None for part in parts}
    if sizes != {len(y)}:
        size = " and ".join("a single number" if one is None else str(one) for one in sizes)
        raise DataError(
            "x, y", found=f"{size} inputs and {len(y)} labels", expected="as many labels as inputs"
        )
    if len(y) == 0:
        raise DataError("x, y", found="no rows", expected="at least one input with its label")


def _of_type(y: Tensor) -> str:
    """How labels become classes, or the task that they belong to."""
    if y.is_floating_point() and bool(y.isnan().any()):
        return f"{int(y.isnan().sum())} of them are missing (NaN): leave those rows out, then y.long()"
    exact = y.dtype == torch.bool or (not y.is_complex() and bool((y == y.round()).all()))
    return (
        "call y.long(), or of a numpy array y.astype(int)"
        if exact
        else 'task="regression" for numbers to be predicted'
    )


def _check_labels(y: Tensor) -> None:
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(
            "y",
            found=f"labels of type {_name(y)}",
            expected="class numbers of an integer type",
            remedy=_of_type(y),
        )
    y = y.long()  # of unsigned types, PyTorch finds no smallest; of uint64 the largest become negative
    if (low := int(y.min())) < 0:
        row = int(y.argmin())
        raise DataError("y", found=f"label {low} at row {row}", expected="labels 0, 1, 2, …")


def _check_classes(y: Tensor, classes: int, *, where: str) -> None:
    if (high := int(y.max())) >= classes:
        row = int(y.argmax())
        raise DataError(
            where,
            found=f"label {high} at row {row}",
            expected=f"labels below {classes}, the number of classes",
        )


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
