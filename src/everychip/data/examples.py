"""Examples: any inputs beside any targets, row by row; what the targets may be, a task knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Int
from torch import Tensor

from everychip.data.inputs import Inputs, leaves, rows_of, taken
from everychip.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs `x` and their targets `y`, each a tensor, a tuple or dict of such, or a list; `y` may be None.

    Every part has one row for each input, and floating-point inputs are finite. Nothing is copied.

    >>> pair = Examples({"ids": torch.zeros(3, 5), "mask": torch.ones(3, 5)}, torch.tensor([0.5, 1.0, 2.0]))
    >>> len(pair), len(pair.take([0, 2]))
    (3, 2)
    """

    x: Inputs
    y: Any = None

    def __post_init__(self) -> None:
        for leaf in (*leaves(self.x), *(() if self.y is None else leaves(self.y))):
            if not isinstance(leaf, Tensor | list):
                raise DataError("x, y", found=f"a {type(leaf).__name__}", expected="tensors")
        n = rows_of(self.x)
        if self.y is not None and rows_of(self.y) != n:
            raise DataError(
                "x, y",
                found=f"{n} inputs and {rows_of(self.y)} targets",
                expected="as many targets as inputs",
            )
        if n == 0:
            raise DataError("x, y", found="no rows", expected="at least one input")
        for leaf in leaves(self.x):
            if isinstance(leaf, Tensor):
                must_be_finite(leaf)

    def __len__(self) -> int:
        return rows_of(self.x)

    def take(self, indices: Int[Tensor, " k"] | list[int] | slice) -> Self:
        """The rows at `indices`, in that order: a copy, but for a slice a view.

        Args:
            indices: row numbers [k], or a slice.

        Returns:
            The chosen rows.
        """
        rows = torch.as_tensor(indices) if isinstance(indices, list) else indices
        chosen = object.__new__(type(self))  # rows of checked examples need no second check
        object.__setattr__(chosen, "x", taken(self.x, rows))
        object.__setattr__(chosen, "y", None if self.y is None else taken(self.y, rows))
        return chosen


def must_be_finite(x: Tensor) -> None:
    """Refuse NaN or infinity in inputs."""
    if not (x.is_floating_point() or x.is_complex()):
        return
    # A NaN or an infinity anywhere makes the sum not finite, and a sum needs no memory of the size of x.
    if bool(x.sum(dtype=torch.promote_types(x.dtype, torch.float32)).isfinite()):
        return
    bad = ~x.flatten(1).isfinite().all(dim=1) if x.ndim > 1 else ~x.isfinite()
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise DataError("x", found=f"NaN or infinity in row {row}", expected="finite numbers")
