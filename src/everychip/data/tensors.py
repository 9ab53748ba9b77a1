"""A user's own tensors, from one safetensors file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from everychip.data.base import Data
from everychip.data.examples import Examples
from everychip.data.place import content_of
from everychip.data.values import Arrays, Splits
from everychip.errors import DataError

_NAMES = ("x_train", "y_train", "x_test", "y_test")


class Tensors(Data):
    """The tensors x_train, y_train, x_test, y_test of one safetensors file at `path`.

    Targets are class numbers [n], or those of another task: numbers or several labels [n, k], or a label at
    every place. `classes`: how many numbers the network gives; absent, one more than the highest label, or k.

    >>> Tensors(path="beats.safetensors").label
    'beats'
    """

    path: str = Field(min_length=1, description="A .safetensors file with x_train, y_train, x_test, y_test.")
    classes: int | None = Field(
        default=None,
        ge=1,
        description="How many classes there are; absent, one more than the largest label, or y's columns.",
    )

    @property
    def label(self) -> str:
        """The file's name without its ending."""
        return Path(self.path).stem

    def content(self) -> str:
        """SHA-256 of the file."""
        return content_of([self._file()])

    def _file(self) -> Path:
        return Path(self.path).expanduser().absolute()

    def load(self) -> Splits:
        """The two splits, kept in memory for as long as the file does not change."""
        file = self._file()
        try:
            stat = file.stat()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise DataError(
                "data.path", found=f"no file {file} ({why})", expected="a safetensors file"
            ) from None
        if not file.is_file():  # a device or a pipe may never end
            raise DataError("data.path", found=f"{file}, which is no file", expected="a safetensors file")
        return _load(self, file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2)
def _load(data: Tensors, file: Path, _size: int, _changed: int) -> Splits:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(
            str(file), found=f"no readable file ({error})", expected="a safetensors file"
        ) from None
    if absent := [name for name in _NAMES if name not in tensors]:
        raise DataError(
            str(file),
            found=f"no tensor {absent[0]}; it has {', '.join(sorted(tensors)) or 'none'}",
            expected=", ".join(_NAMES),
        )
    train, test = (_examples(tensors[f"x_{split}"], tensors[f"y_{split}"]) for split in ("train", "test"))
    classes = data.classes or max(_classes(part.y) for part in (train, test))
    return Splits(train, test, classes=classes, name=data.label)


def _examples(x: Tensor, y: Tensor) -> Examples:
    """One whole number for each input is its class; other targets are those of another task."""
    return Arrays(x, y) if y.ndim == 1 and not y.is_floating_point() else Examples(x, y)


def _classes(y: Any) -> int:
    """How many numbers the network gives: one for each class, label or predicted number."""
    several = y.ndim == 2 and (y.is_floating_point() or bool(((y == 0) | (y == 1)).all()))
    if several:
        return int(y.shape[1])
    return 1 if y.is_floating_point() else int(y.max()) + 1
