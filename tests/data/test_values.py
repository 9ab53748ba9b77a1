"""Claims about Arrays and Splits: what they refuse, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from everychip.data import Arrays, Data, Splits
from everychip.errors import ConfigError, DataError

X = torch.zeros(3, 1, 2, 2)
Y = torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, torch.tensor([0, 1]), "3 inputs and 2 labels"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), "no rows"),
        (X, torch.tensor([0.0, 1.0, 2.0]), "labels of type float32"),
        (X, torch.tensor([True, False, True]), "labels of type bool"),
        (X, torch.tensor([0, -1, 2]), "label -1 at row 1"),
        (X, torch.eye(3, dtype=torch.long), r"labels of shape \[3, 3\]"),
        (torch.tensor(1.0), Y, "a single number inputs and 3 labels"),
        (X.numpy(), Y, "a ndarray"),
    ],
)
def test_arrays_refuse_what_they_cannot_mean(x: object, y: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        Arrays(x, y)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_single_bad_number_is_found_and_its_row_named(bad: float) -> None:
    x = torch.ones(50, 3, 4)
    x[37, 2, 1] = bad
    with pytest.raises(DataError, match="row 37"):
        Arrays(x, torch.zeros(50, dtype=torch.long))


def test_infinities_of_both_signs_do_not_hide_one_another() -> None:
    x = torch.tensor([[1.0], [float("inf")], [float("-inf")]])
    with pytest.raises(DataError, match="row 1"):
        Arrays(x, Y)


def test_large_but_finite_numbers_pass() -> None:
    assert len(Arrays(torch.full((3, 2), 3e38), Y)) == 3  # their sum overflows, they do not


def test_labels_of_any_integer_type_become_int64() -> None:
    assert Arrays(X, Y.to(torch.uint8)).y.dtype == torch.int64


def test_take_gives_the_rows_in_the_order_asked_for() -> None:
    pair = Arrays(torch.arange(12.0).reshape(4, 3), torch.tensor([3, 1, 0, 2]))
    taken = pair.take([2, 0])
    assert taken.x.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert taken.y.tolist() == [0, 3]
    assert pair.take(torch.tensor([1])).y.tolist() == [1]
    assert pair.take(slice(1, 3)).y.tolist() == [1, 0]


def test_a_label_that_is_no_class_is_named_with_its_split() -> None:
    with pytest.raises(DataError, match=r"toy.test: found label 2 at row 2; expected labels below 2"):
        Splits(Arrays(X[:2], Y[:2]), Arrays(X, Y), classes=2, name="toy")


def test_splits_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"inputs of shape \[4\]"):
        Splits(Arrays(X, Y), Arrays(torch.zeros(3, 4), Y), classes=3, name="toy")


def test_splits_tell_the_shape_that_a_model_is_built_for() -> None:
    assert Splits(Arrays(X, Y), Arrays(X, Y), classes=3, name="toy").input_shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "mine [1].safetensors",
            r'the path .*; expected { kind = "tensors", path = "mine \[1\].safetensors" }$',
        ),
        ("FOLDER", r'found the path .*; expected { kind = "hub", name = "pics", path = ".*pics" }$'),
        ("cells.csv", r"found the path 'cells.csv'; expected x_train, .* in a .safetensors file"),
        ("digitz", r"data.kind: found unknown data 'digitz'; did you mean digits"),
        ("\0.csv", r"found the path|found unknown data"),
    ],
)
def test_a_path_in_place_of_a_kind_is_answered_with_the_table_that_has_it(
    path: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "pics").mkdir()
    given = path.replace("FOLDER", str(tmp_path / "pics"))
    for value in (given, {"kind": given}):
        with pytest.raises(ConfigError, match=said):
            Data.parse(value)


def test_a_folder_that_is_called_like_a_kind_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in Data.kinds():
        (tmp_path / kind).mkdir()
    assert Data.parse("digits").kind == "digits"
