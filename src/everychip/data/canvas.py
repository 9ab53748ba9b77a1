"""A segmentation set from the embedded digits: which digit does a pixel belong to?"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from everychip.data.base import Data
from everychip.data.digits import drawn_of_digits
from everychip.data.examples import Examples
from everychip.data.values import Splits
from everychip.rng import rng_for

SIZE, INK = 16, 0.0


class DigitCanvas(Data):
    """Two digits on a canvas of 16×16 pixels, one left, one right, each at a height of its own.

    Labels: 0 for the ground, 1 + the digit for a pixel of its stroke (ink above half). Of each split of
    `digits` every image is used twice, once on each side.

    >>> splits = DigitCanvas().load()
    >>> splits.train.x.shape, splits.train.y.shape, splits.classes
    (torch.Size([1257, 1, 16, 16]), torch.Size([1257, 16, 16]), 11)
    """

    def load(self) -> Splits:
        """The fixed training and test split."""
        return _load()


@lru_cache(maxsize=1)
def _load() -> Splits:
    return drawn_of_digits(_drawn, classes=11, name="digit_canvas")


def _drawn(digits: Examples, split: str) -> Examples:
    rng = rng_for(0, "data", "canvas", split)
    n = len(digits)
    x = torch.full((n, 1, SIZE, SIZE), -1.0)
    y = torch.zeros((n, SIZE, SIZE), dtype=torch.int64)
    for left in (0, 8):
        chosen = torch.randperm(n, generator=rng)
        tops = torch.randint(SIZE - 8 + 1, (n,), generator=rng).tolist()
        for row, (image, top) in enumerate(zip(chosen.tolist(), tops, strict=True)):
            _place(x[row, 0], y[row], digits.x[image, 0], int(digits.y[image]), top, left)
    return Examples(x, y)


def _place(canvas: Tensor, labels: Tensor, image: Tensor, digit: int, top: int, left: int) -> None:
    canvas[top : top + 8, left : left + 8] = image
    labels[top : top + 8, left : left + 8][image > INK] = 1 + digit
