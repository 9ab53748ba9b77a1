"""Word segmentation: the labels say where the spaces of scikit-learn's texts were."""

from __future__ import annotations

from importlib import resources

import pytest
import torch

import everychip as ec
from everychip.data.word_ends import WordEnds


def letters_and_ends() -> tuple[str, list[int]]:
    """The first of the texts, gone through character by character."""
    folder = resources.files("sklearn.datasets") / "descr"
    first = min((file for file in folder.iterdir() if file.name.endswith(".rst")), key=lambda file: file.name)
    text, letters, ends = first.read_text(encoding="utf-8"), "", []
    for character, after in zip(text, text[1:] + " ", strict=True):
        if not character.isspace():
            letters += character
            ends.append(int(after.isspace()))
    return letters, ends


@pytest.mark.parametrize(("length", "delay"), [(32, 4), (48, 0), (16, 7)])
def test_labels_are_the_spaces_that_were_taken_out_some_characters_later(length: int, delay: int) -> None:
    data = WordEnds(length=length, delay=delay).load().train
    letters, ends = letters_and_ends()
    for piece in range(5):
        start = piece * length
        known = letters[start : start + length]
        assert data.x[piece].tolist() == [ord(c) - 31 if 32 <= ord(c) < 127 else 0 for c in known]
        expected = [-100] * delay + ends[start : start + length - delay]
        assert data.y[piece].tolist() == expected


def test_what_is_tested_is_no_part_of_what_is_trained_on() -> None:
    splits = WordEnds(length=64).load()
    train = {tuple(row) for row in splits.train.x.tolist()}
    shared = sum(tuple(row) in train for row in splits.test.x.tolist())
    assert shared <= 0.02 * len(splits.test), "repeated phrases of the texts apart"
    assert 0.05 < len(splits.test) / len(splits.train) < 0.15
    assert set(splits.test.y.unique().tolist()) == {-100, 0, 1}


def test_the_network_of_the_recipe_takes_every_character_and_answers_with_two_labels() -> None:
    splits = WordEnds(length=32).load()
    model = ec.models.CausalConv(width=8, vocabulary=96)
    net = model.build(splits.input_shape, splits.classes, seed=0)
    assert net(splits.train.x[:3]).shape == (3, 32, 2)
    late = splits.train.x[:1].clone()
    late[0, 20:] = 1
    assert torch.equal(net(late)[0, :20], net(splits.train.x[:1])[0, :20]), "it sees the past alone"
    assert "vocabulary" not in ec.models.CausalConv().table(), "recipes without it keep their ids"


def test_a_delay_of_the_whole_piece_is_refused() -> None:
    with pytest.raises(ec.EverychipError, match="delay"):
        WordEnds.parse({"kind": "word_ends", "length": 8, "delay": 8})
