"""The families of data sets and of augmentations."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.config.component import Component
from everychip.data.values import Splits


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

    def content(self) -> str:
        """SHA-256 of the files that the set is read from; "" where there are none, or none here."""
        return ""

    @abstractmethod
    def load(self) -> Splits:
        """The two splits. They are kept in memory and shared by all callers: do not write into them."""


class Augment(Component, family="augment"):
    """A random change of a training batch that leaves its labels true."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, "n ..."], rng: torch.Generator) -> Float[Tensor, "n ..."]:
        """The changed batch; all randomness comes from `rng`."""
