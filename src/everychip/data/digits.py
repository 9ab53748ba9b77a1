"""The embedded data set: scikit-learn's handwritten digits, no download."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from pydantic import Field
from torch.nn import functional

from everychip.data.base import Data
from everychip.data.examples import Examples
from everychip.data.sampling import stratified_order
from everychip.data.values import Arrays, Splits
from everychip.rng import rng_for

TEST_IMAGES = 540  # 30 % of 1797, rounded up


class Digits(Data):
    """1797 grey images of digits, 8×8 pixels scaled to [−1, 1], in one fixed stratified split (1257 / 540).

    `size`: side in pixels after bilinear interpolation; the images' own 8 where absent.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.

    >>> Digits(size=16).load().train.x.shape
    torch.Size([1257, 1, 16, 16])
    """

    size: int | None = Field(
        default=None, ge=1, le=1_024, description="Rows and columns of the images; absent, 8."
    )

    def load(self) -> Splits:
        """The fixed training and test split."""
        return _load(self.size)


def drawn_of_digits(draw: Callable[[Examples, str], Examples], *, classes: int, name: str) -> Splits:
    """A set whose inputs are drawn of the digits, each split of its own digits.

    Args:
        draw: from a split and its name, which addresses the draws, to the split of the new set.
        classes: of the new set.
        name: of the new set.

    Returns:
        Its splits.
    """
    digits = Digits().load()
    return Splits(draw(digits.train, "train"), draw(digits.test, "test"), classes=classes, name=name)


@lru_cache(maxsize=2)
def _load(size: int | None) -> Splits:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    y = torch.as_tensor(labels, dtype=torch.int64)
    if size is not None and size != 8:
        x = functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    order = stratified_order(y, rng_for(0, "data", "digits", "split"))
    whole = Arrays(x, y)
    return Splits(whole.take(order[TEST_IMAGES:]), whole.take(order[:TEST_IMAGES]), classes=10, name="digits")
