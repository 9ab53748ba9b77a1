"""A detection set from the embedded digits: where on the canvas is which digit?"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from everychip.data.base import Data
from everychip.data.digits import drawn_of_digits
from everychip.data.examples import Examples
from everychip.data.values import Splits
from everychip.rng import rng_for

SIZE, DIGIT, INK = 24, 8, 0.0


class DigitBoxes(Data):
    """One to three digits on a canvas of 24×24 pixels, no two of which overlap, each with its box and label.

    Targets: a dict an image, "boxes" [k, 4] as x0, y0, x1, y1 around the strokes (ink above half), and
    "labels" [k]. Of each split of `digits` every image is used once or twice. A detector of points answers
    with 10 classes and four sides: `Splits.classes` is 14.

    >>> splits = DigitBoxes().load()
    >>> splits.train.x.shape, sorted(splits.train.y[0]), splits.classes
    (torch.Size([1257, 1, 24, 24]), ['boxes', 'labels'], 14)
    """

    def load(self) -> Splits:
        """The fixed training and test split."""
        return _load()


@lru_cache(maxsize=1)
def _load() -> Splits:
    return drawn_of_digits(_drawn, classes=14, name="digit_boxes")


def _drawn(digits: Examples, split: str) -> Examples:
    rng = rng_for(0, "data", "boxes", split)
    n, cells = len(digits), SIZE // (DIGIT + 4)
    x = torch.full((n, 1, SIZE, SIZE), -1.0)
    chosen = torch.cat([torch.randperm(n, generator=rng) for _ in range(3)]).tolist()
    counts = (1 + torch.randint(3, (n,), generator=rng)).tolist()
    targets = []
    for canvas, count in zip(x[:, 0], counts, strict=True):
        # Each digit has a quarter of the canvas for itself, and a place of its own in it.
        quarters = torch.randperm(cells * cells, generator=rng)[:count].tolist()
        shifts = torch.randint(5, (count, 2), generator=rng).tolist()
        boxes, labels = [], []
        for quarter, (down, right) in zip(quarters, shifts, strict=True):
            image = chosen.pop()
            top, left = (quarter // cells) * (DIGIT + 4) + down, (quarter % cells) * (DIGIT + 4) + right
            canvas[top : top + DIGIT, left : left + DIGIT] = digits.x[image, 0]
            boxes.append(_around(digits.x[image, 0], top, left))
            labels.append(int(digits.y[image]))
        targets.append({"boxes": torch.stack(boxes), "labels": torch.tensor(labels)})
    return Examples(x, targets)


def _around(image: Tensor, top: int, left: int) -> Tensor:
    """The box around a digit's strokes, in pixels of the canvas."""
    rows, columns = (torch.nonzero((image > INK).any(side)).flatten() for side in (1, 0))
    edges = [left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1]
    return torch.tensor(edges, dtype=torch.float32)
