"""Interrupted anywhere, resumed to the bit; damaged or foreign files refused in one line."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from everychip import Hardware, devices, methods, rng_for
from everychip.data import Arrays, Augment
from everychip.errors import StoreError
from everychip.rng import seeded_global_generator
from everychip.training import checkpoint
from everychip.training.loop import Training, train

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))
EPOCHS = 4


def vectors():
    x = torch.randn(90, 6, generator=rng_for(0, "x"))
    return Arrays(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def images():
    x = torch.randn(60, 3, 8, 8, generator=rng_for(0, "x"))
    return Arrays(x, (x.mean(dim=(1, 2, 3)) > 0).long())


def dropout_net():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 3))


def convolutional_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
        nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 2),
    )  # fmt: skip


class _WithScalar(nn.Module):
    """A parameter without axes, one that is frozen, and two names for one tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.out = nn.Linear(6, 3)
        self.out.bias.requires_grad_(False)

    def forward(self, x):
        return self.out(self.gain * torch.relu(self.second(torch.relu(self.first(x)))))


CROP = Augment.parse({"kind": "crop_flip", "padding": 1})
CASES = {
    "adam with dropout": (dropout_net, vectors, methods.NoiseInjection(), {}),
    "sgd with dropout": (dropout_net, vectors, methods.NoiseInjection(ramp=0.8), {"optimizer": "sgd"}),
    "sgd without momentum": (dropout_net, vectors, methods.Vanilla(), {"optimizer": "sgd", "momentum": 0.0}),
    "adam on images with augmentation": (
        convolutional_net, images, methods.NoiseInjection(), {"augment": CROP, "weight_decay": 1e-3},
    ),
    "sgd on images": (convolutional_net, images, methods.OVF(), {"optimizer": "sgd", "augment": CROP}),
    "exits on images": (convolutional_net, images, methods.IRS(hidden=8), {}),
    "clean gradient in bfloat16": (
        convolutional_net, images, methods.NoiseInjection(noise_gradient="clean"), {"precision": "bfloat16"},
    ),
    "an average of the weights": (convolutional_net, images, methods.NoiseInjection(), {"average": 0.9}),
    "ties, scalars and frozen ones": (_WithScalar, vectors, methods.NoiseInjection(), {}),
}  # fmt: skip


def start(case, file=None, progress=None, **changes):
    build, data, method, options = CASES[case]
    with seeded_global_generator(0, "model"):
        model = build()
    training = Training(**{"epochs": EPOCHS, "batch_size": 16, "lr": 0.01, **options, **changes})
    return train(
        model,
        method,
        data(),
        hardware=HARDWARE,
        training=training,
        seed=4,
        checkpoint=file,
        progress=progress,
    )


@pytest.fixture(scope="module")
def uninterrupted():
    kept = {}

    def result(case):
        if case not in kept:
            kept[case] = start(case)
        return kept[case]

    return result


class _StopError(Exception):
    """An interruption."""


def interrupt_in(epoch, case, file):
    """Train until the middle of an epoch (counted from 1); the ones before it are in the checkpoint."""

    def listener(event):
        if event.values["epoch"] == epoch:
            raise _StopError

    with pytest.raises(_StopError):
        start(case, file, listener)


def assert_same(found, expected):
    assert found.history == expected.history
    assert (found.best_epoch, found.status, found.words, found.forwards) == (
        expected.best_epoch, expected.status, expected.words, expected.forwards,
    )  # fmt: skip
    one, other = found.model.state_dict(), expected.model.state_dict()
    assert list(one) == list(other)
    for name, value in other.items():
        assert torch.equal(one[name], value), name


# --- resuming ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
@pytest.mark.parametrize("case", CASES)
def test_a_training_interrupted_in_any_epoch_ends_with_the_same_bits(tmp_path, uninterrupted, case, epoch):
    file = tmp_path / "training.safetensors"
    interrupt_in(epoch, case, file)
    assert file.exists() == (epoch > 1)
    assert_same(start(case, file), uninterrupted(case))


def test_a_training_may_be_interrupted_in_every_epoch(tmp_path, uninterrupted):
    case, file = "adam on images with augmentation", tmp_path / "training.safetensors"
    for epoch in range(1, EPOCHS + 1):
        interrupt_in(epoch, case, file)
    assert_same(start(case, file), uninterrupted(case))


def test_the_last_epochs_weights_are_resumed_and_not_the_best_ones(tmp_path, monkeypatch):
    """With the first epoch always the best, a resume from the best weights would go another way."""
    monkeypatch.setattr(
        "everychip.training.loop._Loop._validate",
        lambda loop: {"accuracy": 1.0 / (1 + loop.epoch), "nll": 1.0},
    )
    case, file = "adam with dropout", tmp_path / "training.safetensors"
    whole, half = tmp_path / "whole.safetensors", None
    expected = start(case, whole)
    interrupt_in(3, case, file)
    half = start(case, file)
    assert expected.best_epoch == half.best_epoch == 0
    with safe_open(whole, "pt") as one, safe_open(file, "pt") as other:
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118 (not a dict)
            assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name


def test_a_finished_training_is_read_and_not_repeated(tmp_path, uninterrupted):
    case, file = "exits on images", tmp_path / "training.safetensors"
    start(case, file)
    written = file.read_bytes()
    steps = []
    assert_same(start(case, file, steps.append), uninterrupted(case))
    assert not steps
    assert file.read_bytes() == written


def test_a_diverged_training_stays_diverged(tmp_path):
    case, file = "sgd without momentum", tmp_path / "training.safetensors"
    first = start(case, file, lr=1e30)
    assert first.status == "diverged"
    again = start(case, file, lr=1e30)
    assert (again.status, again.words, again.best_epoch) == (first.status, first.words, first.best_epoch)


def test_training_with_a_checkpoint_is_training_without_one(tmp_path, uninterrupted):
    case = "adam with dropout"
    assert_same(start(case, tmp_path / "training.safetensors"), uninterrupted(case))


# The child runs this very file, so that both trainings are the same one.
KILLED = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("child", sys.argv[1])
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
slowly = lambda event: time.sleep(0.05 if event.values["epoch"] > 1 else 0)
child.start(sys.argv[2], pathlib.Path(sys.argv[3]), slowly)
"""


@pytest.mark.timeout(300)  # the child imports PyTorch, which a busy machine takes its time for
def test_a_training_that_is_killed_resumes_to_the_bit(tmp_path, uninterrupted):
    case, file = "sgd on images", tmp_path / "training.safetensors"
    child = subprocess.Popen([sys.executable, "-c", KILLED, __file__, case, str(file)])
    deadline = time.monotonic() + 240
    while not file.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "killed before its end"
    _, facts = checkpoint.load(file)
    assert 1 <= facts["epoch"] < EPOCHS
    assert_same(start(case, file), uninterrupted(case))


def test_ctrl_c_leaves_a_valid_checkpoint_and_no_other_file(tmp_path, uninterrupted):
    case, file = "adam with dropout", tmp_path / "training.safetensors"

    def listener(event):
        if event.values["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(case, file, listener)
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]
    assert checkpoint.load(file)[1]["epoch"] == 2
    assert_same(start(case, file), uninterrupted(case))


# --- foreign and damaged files ----------------------------------------------------------------------------


def refused(file, case="adam with dropout", **changes):
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(StoreError) as error:
        start(case, file, **changes)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)
    if before is not None:
        assert file.read_bytes() == before, "what is refused is not overwritten"
    return str(error.value)


@pytest.fixture
def half(tmp_path):
    file = tmp_path / "training.safetensors"
    interrupt_in(3, "adam with dropout", file)
    return file


@pytest.mark.parametrize(
    "changes", [{"lr": 0.02}, {"epochs": 9}, {"optimizer": "sgd"}, {"batch_size": 8}], ids=str
)
def test_the_checkpoint_of_another_training_is_refused(half, changes):
    assert "another training" in refused(half, **changes)


def test_the_checkpoint_of_another_method_is_refused(half):
    assert "another training" in refused(half, case="sgd without momentum", optimizer="adam", momentum=0.9)


@pytest.mark.parametrize("what", ["model", "labels", "inputs", "size"])
def test_the_checkpoint_of_another_model_or_other_data_is_refused(half, what, monkeypatch):
    build, data, method, options = CASES["adam with dropout"]
    other = data()
    if what == "model":
        build = lambda: nn.Sequential(nn.Linear(6, 17), nn.ReLU(), nn.Linear(17, 3))  # noqa: E731
    elif what == "labels":
        other = Arrays(other.x, other.y.flip(0))
    elif what == "inputs":
        other = Arrays(other.x + 0.1, other.y)
    else:
        other = other.take(slice(0, 80))
    monkeypatch.setitem(CASES, "other", (build, lambda: other, method, options))
    assert "another training" in refused(half, case="other")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(half, share):
    content = half.read_bytes()
    half.write_bytes(content[: int(share * len(content))])
    assert "damaged or foreign" in refused(half)


@pytest.mark.parametrize(
    "content", [b"\x00" * 64, b"not a checkpoint", b"\xff" * 4096, b"{}"], ids=["0", "text", "255", "{}"]
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    file = tmp_path / "training.safetensors"
    file.write_bytes(content)
    assert "damaged or foreign" in refused(file)


@pytest.mark.parametrize(
    "metadata", [None, {"facts": "not JSON"}, {"facts": "[1, 2]"}, {"facts": "3"}, {"other": "x"}]
)
def test_tensors_of_somebody_else_are_refused(tmp_path, metadata):
    file = tmp_path / "training.safetensors"
    save_file({"weight": torch.zeros(3)}, file, metadata=metadata)
    assert "damaged or foreign" in refused(file)


def test_facts_of_somebody_else_are_another_training(tmp_path):
    file = tmp_path / "training.safetensors"
    save_file({"weight": torch.zeros(3)}, file, metadata={"facts": "{}"})
    assert "another training" in refused(file)


def test_a_folder_in_the_files_place_is_refused(tmp_path):
    file = tmp_path / "training.safetensors"
    file.mkdir()
    assert "damaged or foreign" in refused(file)


@pytest.mark.parametrize("place", ["nowhere/training.safetensors", "occupied/training.safetensors"])
def test_a_place_that_cannot_be_written_is_told_before_training(tmp_path, place):
    (tmp_path / "occupied").write_text("a file, not a folder")
    steps = []
    with pytest.raises(StoreError, match="cannot be written") as error:
        start("adam with dropout", tmp_path / place, steps.append)
    assert "\n" not in str(error.value)
    assert not steps


# --- files ------------------------------------------------------------------------------------------------


def test_tensors_and_facts_come_back_as_they_were(tmp_path):
    file = tmp_path / "a.safetensors"
    base = torch.randn(4, 6, 3, 3)
    tensors = {
        "plain": base, "view": base[:, 1:3], "last": base.to(memory_format=torch.channels_last),
        "turned": base[:, 0, 0].T, "number": torch.tensor(3), "half": base.bfloat16(),
        "empty": torch.zeros(0, 2),
    }  # fmt: skip
    facts = {"epoch": 3, "words": "σ = 0,1", "history": [{"loss": "inf"}]}
    checkpoint.save(file, tensors, facts)
    found, read = checkpoint.load(file)
    assert read == json.loads(json.dumps(facts))
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "a.safetensors"
    checkpoint.save(file, {"w": torch.zeros(2)}, {"n": 1})
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        checkpoint.save(file, {"w": torch.ones(2)}, {"n": 2})
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("kind", ["fused adam", "adam", "sgd"])
def test_an_optimisers_state_goes_on_where_it_was_in_any_layout(tmp_path, kind):
    """The next step after a round trip through a file is the next step without one."""

    def optimizer_of(model):
        if kind == "sgd":
            return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return torch.optim.Adam(model.parameters(), lr=0.1, fused=kind == "fused adam")

    def step(model, optimizer, n):
        optimizer.zero_grad()
        x = torch.randn(4, 3, 6, 6, generator=rng_for(0, n)).to(memory_format=torch.channels_last)
        model(x).square().mean().backward()
        optimizer.step()

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(128, 2))
    model = model.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(model)
    for n in range(3):
        step(model, optimizer, n)
    twin = copy.deepcopy(model)
    checkpoint.save(tmp_path / "a", checkpoint.flatten(optimizer), {})
    resumed = optimizer_of(twin)
    checkpoint.restore(resumed, checkpoint.load(tmp_path / "a")[0])
    for n in range(3, 6):
        step(model, optimizer, n)
        step(twin, resumed, n)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
