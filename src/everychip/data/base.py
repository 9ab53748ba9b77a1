"""The families of data sets and of augmentations."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.config.component import Component, refusal
from everychip.data.values import Splits
from everychip.errors import shown


class Data(Component, family="data"):
    """A data set by its description; `load()` brings its training and test split.

    >>> splits = Data.parse("digits").load()
    >>> len(splits.train), len(splits.test), splits.classes, splits.input_shape
    (1257, 540, 10, (1, 8, 8))
    """

    example: ClassVar[str] = '{ kind = "digits" }'

    @property
    def label(self) -> str:
        """The short name that tables and plots show."""
        return self.kind

    @classmethod
    def expand(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Refuse a path in place of a kind, and say the table that has it."""
        kind = data.get("kind")
        unknown = isinstance(kind, str) and kind not in cls.registry and kind not in cls.kinds()
        if unknown and (table := _table_of(kind)):
            raise refusal((), f"the path {shown(kind)}", table)
        return data

    def content(self) -> str:
        """SHA-256 of the files that the set is read from; "" where there are none, or none here."""
        return ""

    @abstractmethod
    def load(self) -> Splits:
        """The two splits. They are kept in memory and shared by all callers: do not write into them."""


_FILES = (".safetensors", ".csv", ".tsv", ".parquet", ".npy", ".npz", ".pt", ".pth")


def _table_of(path: Any) -> str:
    """How a recipe names a file or a folder of data; "" where a word is neither."""
    try:
        folder, suffix = Path(path).is_dir(), Path(path).suffix.lower()
    except (OSError, ValueError):  # a name that no file can have
        return ""
    text = json.dumps(path, ensure_ascii=False)
    if folder:
        return f'{{ kind = "hub", name = {json.dumps(Path(path).name)}, path = {text} }}'
    if suffix == ".safetensors":
        return f'{{ kind = "tensors", path = {text} }}'
    known = "x_train, y_train, x_test and y_test in a .safetensors file"
    return f'{known}: {{ kind = "tensors", path = … }}' if suffix in _FILES else ""


class Augment(Component, family="augment"):
    """A random change of a training batch that leaves its labels true."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, "n ..."], rng: torch.Generator) -> Float[Tensor, "n ..."]:
        """The changed batch; all randomness comes from `rng`."""
