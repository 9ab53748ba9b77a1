"""Claims about crop and flip, against every crop that could have been."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from everychip.data import Augment, CropFlip
from everychip.errors import DataError
from everychip.rng import rng_for


def every_crop(image: Tensor, *, padding: int, fill: float) -> list[Tensor]:
    """All (2p + 1)² shifted copies of one image, unflipped, in the order of row and column."""
    padded = functional.pad(image, (padding,) * 4, value=fill)
    _, height, width = image.shape
    shifts = range(2 * padding + 1)
    return [padded[:, top : top + height, left : left + width] for top in shifts for left in shifts]


def matches(x: Tensor, changed: Tensor, *, padding: int, fill: float) -> list[tuple[int, bool]]:
    """Which crop each image became, and whether it was mirrored."""
    found = []
    for before, after in zip(x, changed, strict=True):
        crops = every_crop(before, padding=padding, fill=fill)
        hits = [
            (i, mirrored)
            for i, crop in enumerate(crops)
            for mirrored in (False, True)
            if torch.equal(crop.flip(-1) if mirrored else crop, after)
        ]
        assert len(hits) == 1
        found.append(hits[0])
    return found


def test_every_image_becomes_one_of_its_crops_and_all_are_equally_likely() -> None:
    x = torch.randn(900, 2, 5, 6)
    changed = CropFlip(padding=1)(x, rng_for(0, "test"))
    found = matches(x, changed, padding=1, fill=-1.0)
    counts = torch.tensor([crop for crop, _ in found]).bincount(minlength=9)
    assert (counts - 100).abs().max() < 4 * (900 * (1 / 9) * (8 / 9)) ** 0.5
    assert abs(sum(mirrored for _, mirrored in found) - 450) < 4 * 15


def test_without_flip_no_image_is_mirrored() -> None:
    x = torch.randn(50, 1, 4, 4)
    changed = CropFlip(padding=2, flip=False)(x, rng_for(0, "test"))
    assert not any(mirrored for _, mirrored in matches(x, changed, padding=2, fill=-1.0))


def test_without_padding_and_flip_nothing_changes() -> None:
    x = torch.randn(5, 3, 8, 8)
    assert torch.equal(CropFlip(padding=0, flip=False)(x, rng_for(0, "test")), x)


def test_each_channel_is_padded_with_its_own_black() -> None:
    x = torch.ones(40, 3, 4, 4)
    changed = CropFlip(padding=3, fill=(-2.0, -3.0, -4.0))(x, rng_for(0, "test"))
    assert [sorted(set(changed[:, c].flatten().tolist())) for c in range(3)] == [[-2, 1], [-3, 1], [-4, 1]]


def test_the_batch_depends_on_the_generator_alone(global_generators_untouched: None) -> None:
    x = torch.arange(2 * 64.0).reshape(2, 1, 8, 8)
    augment = Augment.parse({"kind": "crop_flip", "padding": 2})
    assert torch.equal(augment(x, rng_for(3, "epoch", 1)), augment(x, rng_for(3, "epoch", 1)))
    assert not torch.equal(augment(x, rng_for(3, "epoch", 1)), augment(x, rng_for(3, "epoch", 2)))


def test_the_given_batch_stays_as_it_was() -> None:
    x = torch.randn(4, 1, 8, 8)
    before = x.clone()
    CropFlip()(x, rng_for(0, "test")).zero_()
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("augment", "shape"), [(CropFlip(), (4, 16)), (CropFlip(fill=(0.0, 0.0)), (4, 3, 8, 8))]
)
def test_what_are_no_images_or_other_channels_is_refused(augment: CropFlip, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="augment"):
        augment(torch.zeros(shape), rng_for(0, "test"))
