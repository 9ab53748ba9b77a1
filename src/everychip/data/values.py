"""Arrays and Splits: inputs with their labels, checked once, when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from everychip.errors import DataError


@dataclass(frozen=True, eq=False)
class Arrays:
    """Inputs and their labels: `x` [n, …] without NaN or infinity, `y` [n] whole numbers ≥ 0.

    Labels of any integer type are kept as int64. The tensors are not copied.

    >>> import torch
    >>> pair = Arrays(torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 2]))
    >>> len(pair), len(pair.take([0, 2]))
    (3, 2)
    """

    x: Shaped[Tensor, "n ..."]
    y: Int[Tensor, " n"]

    def __post_init__(self) -> None:
        _check_shapes(self.x, self.y)
        _check_labels(self.y)
        _check_finite(self.x)
        object.__setattr__(self, "y", self.y.long())

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: Int[Tensor, " k"] | list[int] | slice) -> Self:
        """The rows at `indices`, in that order: a copy, but for a slice a view.

        Args:
            indices: row numbers [k], or a slice.

        Returns:
            The chosen rows.
        """
        rows = torch.as_tensor(indices) if isinstance(indices, list) else indices
        taken = object.__new__(type(self))  # rows of checked arrays need no second check
        object.__setattr__(taken, "x", self.x[rows])
        object.__setattr__(taken, "y", self.y[rows])
        return taken


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: what may be trained on, what may only be tested on, and how many classes there are."""

    train: Arrays
    test: Arrays
    classes: int
    name: str

    def __post_init__(self) -> None:
        for split, arrays in (("train", self.train), ("test", self.test)):
            _check_classes(arrays.y, self.classes, where=f"{self.name}.{split}")
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            raise DataError(
                f"{self.name}.test",
                found=f"inputs of shape {list(self.test.x.shape[1:])}",
                expected=f"the shape of the training inputs, {list(self.train.x.shape[1:])}",
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, as `Model.build` takes it."""
        return tuple(self.train.x.shape[1:])


def _check_shapes(x: Tensor, y: Tensor) -> None:
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise DataError(
                name,
                found=f"a {type(value).__name__}",
                expected="a tensor",
                remedy="data.as_arrays takes numpy arrays, loaders and data sets too",
            )
    if y.ndim != 1:
        raise DataError(
            "y", found=f"labels of shape {list(y.shape)}", expected="one whole number per input, [n]"
        )
    if x.ndim == 0 or len(x) != len(y):
        size = len(x) if x.ndim else "a single number"
        raise DataError(
            "x, y", found=f"{size} inputs and {len(y)} labels", expected="as many labels as inputs"
        )
    if len(y) == 0:
        raise DataError("x, y", found="no rows", expected="at least one input with its label")


def _check_labels(y: Tensor) -> None:
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(
            "y",
            found=f"labels of type {_name(y)}",
            expected="class numbers of an integer type",
            remedy="call y.long()",
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


def _check_finite(x: Tensor) -> None:
    if not (x.is_floating_point() or x.is_complex()):
        return
    # A NaN or an infinity anywhere makes the sum not finite, and a sum needs no memory of the size of x.
    if bool(x.sum(dtype=torch.promote_types(x.dtype, torch.float32)).isfinite()):
        return
    bad = ~x.flatten(1).isfinite().all(dim=1) if x.ndim > 1 else ~x.isfinite()
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise DataError("x", found=f"NaN or infinity in row {row}", expected="finite numbers")


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
