"""Claims about as_arrays: every usual holder of inputs and labels gives the same arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

import everychip as ec
from everychip.data import Arrays, Data, Digits, Tensors, arrays, as_arrays
from everychip.errors import ConfigError, DataError

X = torch.arange(20.0).reshape(10, 2)
Y = torch.arange(10) % 3


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(zip(X, Y.tolist(), strict=True))


@pytest.mark.parametrize(
    "source",
    [
        (X, Y),
        [X, Y],
        (X.numpy(), Y.numpy()),
        (X.double().numpy(), Y.int().numpy()),
        (X.tolist(), Y.tolist()),
        Arrays(X, Y),
        TensorDataset(X, Y),
        Subset(TensorDataset(X, Y), range(10)),
        Stream(),
        DataLoader(TensorDataset(X, Y), batch_size=3),
        DataLoader(TensorDataset(X, Y), batch_size=None),
        DataLoader(Stream(), batch_size=4),
    ],
    ids=lambda source: type(source).__name__,
)
def test_every_holder_gives_the_same_arrays(source: object) -> None:
    made = as_arrays(source)
    assert torch.equal(made.x, X)
    assert torch.equal(made.y, Y)
    assert made.x.dtype == torch.float32


def test_a_shuffling_loader_is_read_whole_without_moving_a_generator(
    global_generators_untouched: None,
) -> None:
    made = as_arrays(DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True))
    assert sorted(made.x[:, 0].tolist()) == X[:, 0].tolist()
    assert torch.equal(made.y, (made.x[:, 0] / 2).long() % 3)  # labels stayed with their inputs


def test_a_data_set_of_two_splits_needs_to_be_told_which() -> None:
    assert as_arrays(Digits(), split="test") is Digits().load().test
    assert as_arrays(Digits().load(), split="train") is Digits().load().train
    with pytest.raises(DataError, match="expected split='train' or split='test'"):
        as_arrays(Digits())
    with pytest.raises(DataError, match="validation"):
        as_arrays(Digits(), split="validation")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mnist", "the word .mnist."),
        (X, "a Tensor"),
        ((X, ["cat"] * 10), "y: found text, such as .cat.; expected numbers"),
        (DataLoader(TensorDataset(X), batch_size=2), "items that are a list|pairs"),
        (TensorDataset(X[:0], Y[:0]), "no items"),
        ([(X[0], 1), (X[1], 2)], "x: found a tuple|2 inputs"),
    ],
)
def test_what_holds_no_labelled_inputs_is_refused_in_one_line(source: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        as_arrays(source)
    assert "\n" not in str(caught.value)


def test_inputs_of_different_shapes_are_refused() -> None:
    ragged = DataLoader([(torch.zeros(2), 0), (torch.zeros(3), 1)], batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="different shapes"):
        as_arrays(ragged)


def test_tensors_of_a_safetensors_file_become_splits(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    save_file(
        {"x_train": X, "y_train": Y, "x_test": X[:4].clone(), "y_test": Y[:4].clone()}, "toy.safetensors"
    )
    splits = Data.parse({"kind": "tensors", "path": "toy.safetensors"}).load()
    assert (splits.name, splits.classes, len(splits.train), len(splits.test)) == ("toy", 3, 10, 4)
    save_file(
        {
            "x_train": X[:5].clone(),
            "y_train": Y[:5].clone(),
            "x_test": X[:4].clone(),
            "y_test": Y[:4].clone(),
        },
        "toy.safetensors",
    )
    assert len(Tensors(path="toy.safetensors").load().train) == 5, "a changed file is read again"


def test_a_file_that_does_not_hold_them_is_refused_in_one_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "toy.safetensors"
    with pytest.raises(DataError, match="no file"):
        Tensors(path=str(file)).load()
    file.write_bytes(b"not tensors")
    with pytest.raises(DataError, match="no readable file"):
        Tensors(path=str(file)).load()
    save_file({"x_train": X, "y_train": Y}, file)
    with pytest.raises(DataError, match="no tensor x_test; it has x_train, y_train"):
        Tensors(path=str(file)).load()
    save_file({"x_train": X, "y_train": Y, "x_test": X.clone(), "y_test": Y.clone()}, file)
    with pytest.raises(DataError, match="label 2 at row 2; expected labels below 2"):
        Tensors(path=str(file), classes=2).load()
    with pytest.raises(ConfigError, match="path"):
        Data.parse("tensors")


def test_arrays_takes_lists_and_makes_numpy_doubles_single() -> None:
    assert arrays(np.ones((3, 2)), [0, 1, 1]).x.dtype == torch.float32
    assert arrays(torch.ones(3, 2, dtype=torch.float64), Y[:3]).x.dtype == torch.float64


def test_a_stream_is_trained_from_in_a_loop_of_ones_own_and_the_line_says_so() -> None:
    stream = ec.data.Stream(lambda: [(torch.ones(2, 4), torch.tensor([0, 1]))])
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    for task in ("classification", "regression"):
        with pytest.raises(DataError, match=r"a Stream.*Method\.bind") as error:
            ec.fit(torch.nn.Linear(4, 2), "vanilla", stream, task=task, hardware=hw, epochs=1)
        assert "\n" not in str(error.value)
