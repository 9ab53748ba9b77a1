"""The embedded digits with several labels each: what is true of the number."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from everychip.data.base import Data
from everychip.data.digits import Digits
from everychip.data.examples import Examples
from everychip.data.values import Arrays, Splits

NAMES = ("even", "prime", "above four", "has a loop")
_TRUE_OF = ((0, 2, 4, 6, 8), (2, 3, 5, 7), (5, 6, 7, 8, 9), (0, 6, 8, 9))


class DigitAttributes(Data):
    """Four labels for each image of a digit: even, prime, above four, has a loop (0, 6, 8, 9).

    The images and their split are those of `digits`.

    >>> splits = DigitAttributes().load()
    >>> splits.train.y.shape, splits.classes
    (torch.Size([1257, 4]), 4)
    """

    def load(self) -> Splits:
        """The fixed training and test split."""
        return _load()


@lru_cache(maxsize=1)
def _load() -> Splits:
    digits = Digits().load()
    train, test = (_with_attributes(part) for part in (digits.train, digits.test))
    return Splits(train, test, classes=len(NAMES), name="digit_attributes")


def _with_attributes(digits: Arrays | Examples) -> Examples:
    return Examples(digits.x, torch.stack([_is_one_of(digits.y, known) for known in _TRUE_OF], dim=1).float())


def _is_one_of(y: Tensor, known: tuple[int, ...]) -> Tensor:
    return torch.isin(y, torch.tensor(known))
