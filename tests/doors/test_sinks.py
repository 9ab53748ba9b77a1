"""Sinks: TensorBoard's own reader finds what was reported; MLflow and W&B get what they take."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import everychip as ec
from everychip.doors import sinks
from everychip.errors import MissingExtraError
from everychip.progress import Event

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
X = torch.randn(64, 4, generator=ec.rng_for(0))
Y = (X[:, 0] > 0).long()


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_s_reader_finds_the_accuracy_of_every_chip(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = torch.nn.Linear(4, 2)
    draws = ec.evaluate(model, HW, (X, Y), chips=5, progress=sinks.tensorboard(str(tmp_path)))
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    found = read.Scalars("chips/accuracy")
    assert [row.step for row in found] == [1, 2, 3, 4, 5]
    assert torch.allclose(torch.tensor([row.value for row in found]).double(), draws.accuracy)


EVENTS = [Event("training", done, 4, {"epoch": 1, "loss": 0.5 / done}) for done in range(1, 5)]


def test_mlflow_gets_numbers_with_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    fake = SimpleNamespace(log_metrics=lambda values, step: calls.append((values, step)))
    monkeypatch.setitem(sys.modules, "mlflow", fake)  # type: ignore[arg-type]
    sink = sinks.mlflow(every=3)
    for event in EVENTS:
        sink(event)
    assert [step for _, step in calls] == [3, 4]
    assert calls[1][0] == {"training/epoch": 1.0, "training/loss": 0.125}


def test_wandb_gets_numbers_and_a_step_that_may_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(log=calls.append))  # type: ignore[arg-type]
    sinks.wandb()(EVENTS[1])
    assert calls == [{"training/epoch": 1.0, "training/loss": 0.25, "everychip/step": 2}]


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow"), ("wandb", "wandb")]
)
def test_a_missing_package_is_one_line_that_installs_it(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    arguments = [str(tmp_path)] if name == "tensorboard" else []
    with pytest.raises(MissingExtraError) as error:
        getattr(sinks, name)(*arguments)
    command = 'pip install "everychip[tensorboard]"' if name == "tensorboard" else f"pip install {name}"
    assert command in str(error.value)
    assert "\n" not in str(error.value)
