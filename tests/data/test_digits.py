"""Claims about the embedded digits, against scikit-learn's own copy."""

from __future__ import annotations

import hashlib

import pytest
import torch
from sklearn.datasets import load_digits

from everychip.data import Data, Digits
from everychip.errors import ConfigError


def test_the_splits_together_are_scikit_learns_images_scaled_to_minus_one_and_one() -> None:
    images, labels = load_digits(return_X_y=True)
    splits = Digits().load()
    x = torch.cat([splits.train.x, splits.test.x]).flatten(1)
    y = torch.cat([splits.train.y, splits.test.y])
    ours = sorted((*row, label) for row, label in zip(((x + 1) * 8).tolist(), y.tolist(), strict=True))
    theirs = sorted((*row, label) for row, label in zip(images.tolist(), labels.tolist(), strict=True))
    assert ours == theirs
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)


def test_three_tenths_of_every_class_are_held_out() -> None:
    splits = Digits().load()
    whole = splits.train.y.bincount() + splits.test.y.bincount()
    assert (splits.test.y.bincount() - 0.3 * whole).abs().max() <= 1


def test_the_split_never_changes() -> None:
    # Results under version control rest on it: a new order would be another data set.
    test = Digits().load().test
    pixels = ((test.x + 1) * 8).to(torch.uint8).numpy().tobytes()
    assert test.y[:12].tolist() == [3, 5, 1, 6, 4, 9, 7, 0, 2, 8, 3, 5]
    assert hashlib.sha256(pixels).hexdigest()[:16] == "ed17179b21582b29"


def test_loading_does_not_move_a_generator(global_generators_untouched: None) -> None:
    Digits(size=7).load()


def test_a_larger_size_keeps_the_mean_brightness() -> None:
    small, large = Digits().load().test.x, Digits(size=16).load().test.x
    assert large.shape[1:] == (1, 16, 16)
    # Bilinear doubling weights inner pixels 1 and border pixels a little more; digits are dark at the border.
    assert float(large.mean()) == pytest.approx(float(small.mean()), abs=0.02)


def test_the_same_data_are_loaded_once() -> None:
    assert Data.parse("digits").load() is Digits().load()


def test_a_size_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="size"):
        Data.parse({"kind": "digits", "size": 0})
