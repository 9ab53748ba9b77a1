"""Claims about the images on which `everychip study buechel-published` trains."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from everychip.data import Hub

datasets = pytest.importorskip("datasets")
SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "docs" / "augmented_copies.py"))


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Twenty images of noise to train on and two to test on, after the script."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=3)})
    for split, count in (("train", 20), ("test", 2)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 12, 12), dtype=np.uint8)
        table = {"image": list(pixels), "label": [n % 3 for n in range(count)]}
        folder = tmp_path / "plain"
        folder.mkdir(exist_ok=True)
        rows = datasets.Dataset.from_dict(table, features=features)
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    SCRIPT["write"](tmp_path / "plain", tmp_path / "copies")
    return Hub(name="copies", path=str(tmp_path / "copies"))


def test_every_training_image_is_followed_by_two_copies_of_its_class(copies: Hub, tmp_path: Path) -> None:
    plain = Hub(name="plain", path=str(tmp_path / "plain")).load()
    found = copies.load()
    assert torch.equal(found.train.x[::3], plain.train.x)
    for copy in (1, 2):
        assert torch.equal(found.train.y[copy::3], plain.train.y)
        assert not any(map(torch.equal, found.train.x[copy::3], plain.train.x))
    assert torch.equal(found.test.x, plain.test.x) and torch.equal(found.test.y, plain.test.y)
    assert found.classes == plain.classes == 3


def test_a_copy_is_turned_by_up_to_ten_degrees_and_mirrored_one_time_in_two() -> None:
    """A bright dot on the horizontal axis says by where it lands how an image was turned."""
    row, column = 32, 56
    images = torch.zeros(400, 65, 65, dtype=torch.uint8)
    images[:, row - 2 : row + 3, column - 2 : column + 3] = 200
    weight = SCRIPT["augmented"](images, copy=0).double()
    y, x = torch.meshgrid(torch.arange(65.0) - 32, torch.arange(65.0) - 32, indexing="ij")
    total = weight.sum(dim=(1, 2))
    right, down = ((weight * axis).sum(dim=(1, 2)) / total for axis in (x, y))
    angles = (down / right.abs()).atan().rad2deg()
    torch.testing.assert_close(right.hypot(down), torch.full_like(right, 24.0), rtol=0.01, atol=0)
    assert 9.5 < float(angles.abs().max()) < 10.2
    assert 5.2 < float(angles.std()) < 6.3, "uniform: 20/√12"
    assert 0.4 < float((right < 0).float().mean()) < 0.6


def test_edges_are_continued_and_a_copy_is_the_same_every_time() -> None:
    flat = torch.full((3, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(SCRIPT["augmented"](flat, copy=1), flat)
    images = torch.randint(256, (4, 9, 9), generator=torch.Generator().manual_seed(0)).byte()
    first, again, other = (SCRIPT["augmented"](images, copy=number) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
