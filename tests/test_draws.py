"""Draws hold one row per chip, join what was divided, and compare only what met the same chips."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from everychip.draws import Draws
from everychip.errors import DataError
from everychip.metrics import METRICS, per_chip
from everychip.paired import compare
from everychip.rng import rng_for
from everychip.verdict import verdict


def draws(
    chips: list[int], *, seed: int = 0, images: int = 60, whole_test: bool = True, gain: float = 0
) -> Draws:
    """Draws of a stand-in network whose logits depend on the chip's number alone."""
    rows = []
    for chip in chips:
        logits = torch.randn(images, 3, generator=rng_for(seed, "draws", chip))
        logits[:, 0] += 1 + gain
        rows.append(per_chip(logits, torch.zeros(images, dtype=torch.long)))
    return Draws.of(rows, seed=seed, images=images, chips=chips, whole_test=whole_test)


def same(a: Draws, b: Draws) -> bool:
    return a.columns() == b.columns()


def test_draws_divided_among_workers_join_to_those_of_one() -> None:
    whole = draws([0, 1, 2, 3, 4, 5])
    assert same(Draws.join([draws([4, 5]), draws([0, 3]), draws([2, 1])]), whole)
    assert same(Draws.join([whole]), whole)


def test_columns_are_plain_lists_of_one_entry_per_chip() -> None:
    got = draws([3, 1], seed=7).columns()
    assert list(got) == [*METRICS, "chip", "seed", "images", "whole_test"]
    assert got["chip"] == [3, 1]
    assert got["seed"] == [7, 7]
    assert got["images"] == [60, 60]
    assert got["whole_test"] == [True, True]
    assert all(type(value) is float for name in METRICS for value in got[name])
    assert {type(value) for value in got["whole_test"]} == {bool}


def test_columns_keep_the_metrics_to_the_last_bit() -> None:
    made = draws([0, 1, 2])
    columns = made.columns()
    back = Draws(
        **{name: torch.tensor(columns[name], dtype=torch.float64) for name in METRICS},
        chip=torch.tensor(columns["chip"]),
        seed=0,
        images=60,
    )
    assert same(back, made)


def test_the_verdict_is_that_of_the_accuracies() -> None:
    made = draws(list(range(80)))
    assert made.verdict(target=0.6) == verdict(made.accuracy, target=0.6, images=60)
    assert str(made) == str(verdict(made.accuracy))
    assert len(made) == 80


def test_draws_on_random_images_refuse_percentiles() -> None:
    made = draws(list(range(80)), whole_test=False)
    assert made.verdict(target=0.6).kpp is None
    assert "own random 60 images" in str(made)


def test_a_comparison_pairs_by_the_number_of_the_chip_not_by_position() -> None:
    a, b = draws(list(range(20)), gain=0.5), draws(list(range(20)))
    expected = compare(a.accuracy, b.accuracy)
    assert a.compare(b) == expected
    assert a.compare(draws(list(reversed(range(20))))) == expected
    assert draws(list(reversed(range(20))), gain=0.5).compare(b) == expected


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 1}, "seed 0 beside seed 1"),
        ({"images": 30}, "images 60 beside images 30"),
        ({"whole_test": False}, "whole_test True beside whole_test False"),
        ({"chips": [0, 1, 3]}, "3 chips beside 3, not the same ones"),
        ({"chips": [0, 1]}, "3 chips beside 2, not the same ones"),
    ],
)
def test_draws_of_other_chips_or_images_are_not_compared(other: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        draws([0, 1, 2]).compare(draws(**{"chips": [0, 1, 2], **other}))  # type: ignore[arg-type]


def test_draws_of_another_setting_are_not_joined_and_no_chip_counts_twice() -> None:
    with pytest.raises(DataError, match=r"Draws\.join: found seed 0 beside seed 1"):
        Draws.join([draws([0]), draws([1], seed=1)])
    with pytest.raises(DataError, match="chip 1 more than once"):
        Draws.join([draws([0, 1]), draws([1, 2])])
    with pytest.raises(DataError, match="nothing to join"):
        Draws.join([])


def test_columns_of_unequal_length_and_empty_draws_are_refused() -> None:
    made = draws([0, 1])
    with pytest.raises(DataError, match="one value per chip"):
        dataclasses.replace(made, ece=made.ece[:1])
    with pytest.raises(DataError, match="at least one chip"):
        Draws.of([], seed=0, images=60)


def test_draws_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        draws([0]).seed = 1  # type: ignore[misc]
