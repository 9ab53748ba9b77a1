"""Claims about the genuine sets, where there are local copies of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from everychip.data import Hub

pytest.importorskip("datasets")


@pytest.mark.shared_data
def test_mnist_is_the_genuine_set(shared_data: Path) -> None:
    hub = Hub(name="ylecun/mnist", path=str(shared_data / "mnist"), limit=3000, mean=(0.0,), std=(1.0,))
    splits = hub.load()
    # LeCun's test set holds 980 zeros, 1135 ones, …; mean and deviation of all training pixels are known.
    assert splits.test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(splits.train.x.mean()) == pytest.approx(0.1307, abs=0.002)
    assert float(splits.train.x.std()) == pytest.approx(0.3081, abs=0.003)


@pytest.mark.shared_data
def test_cifar10_comes_as_colour_images_from_a_column_of_another_name(shared_data: Path) -> None:
    hub = Hub(name="uoft-cs/cifar10", path=str(shared_data / "cifar10"), limit=500, test_limit=100)
    splits = hub.load()
    assert splits.train.y.bincount().tolist() == [50] * 10
    assert splits.input_shape == (3, 32, 32)
