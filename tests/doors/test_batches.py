"""What a batch may be, and what is said of another."""

from __future__ import annotations

from typing import Any

import pytest

from everychip.doors.batches import split_batch
from everychip.errors import DataError


@pytest.mark.parametrize("name", ["labels", "label", "y", "target"])
def test_a_dict_gives_up_its_labels_and_keeps_the_rest_by_name(name: str) -> None:
    assert split_batch({"ids": 1, "mask": 2, name: 3}) == ({"ids": 1, "mask": 2}, 3)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"ids": 1, "lables": 2}, "did you mean lables"),
        ({}, "a dict of nothing"),
        ((1, 2, 3), "a tuple of 3"),
        (7, "a int; expected a pair"),
    ],
)
def test_another_batch_is_refused_in_one_line(batch: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        split_batch(batch)
    assert "\n" not in str(error.value)
