"""A user's own tensors, from one safetensors file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field

from everychip.data.base import Data
from everychip.data.place import content_of
from everychip.data.values import Arrays, Splits
from everychip.errors import DataError

_NAMES = ("x_train", "y_train", "x_test", "y_test")


class Tensors(Data):
    """The tensors x_train, y_train, x_test, y_test of one safetensors file at `path`.

    `classes`: the number of classes; one more than the highest label where absent.

    >>> Tensors(path="beats.safetensors").label
    'beats'
    """

    path: str = Field(min_length=1, description="A .safetensors file with x_train, y_train, x_test, y_test.")
    classes: int | None = Field(
        default=None, ge=1, description="How many classes there are; absent, one more than the largest label."
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
    train, test = (Arrays(tensors[f"x_{split}"], tensors[f"y_{split}"]) for split in ("train", "test"))
    classes = data.classes or int(max(train.y.max(), test.y.max())) + 1
    return Splits(train, test, classes=classes, name=data.label)
