"""The folder of a run is asked about its trained weights; what they depend on cannot be changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everychip import effective_sigma
from everychip.cli import call
from everychip.study.experiment import Experiment
from everychip.study.trained import trained_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("asked") / "run"
    changes = ("training.epochs=2", "model.hidden=[16]", "evaluation.chips=2", "evaluation.sigma=[0.2]")
    assert call(["run", "digits", *(f"--set={change}" for change in changes), "-o", str(path)]) == 0
    return path


def test_check_tells_the_noise_of_the_trained_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["check", str(folder), "--set", "hardware.device.sigma=0.3"]) == 0
    assert "as they were trained:" in capsys.readouterr().out
    assert call(["check", str(folder), "--json"]) == 0
    experiment = Experiment.from_toml(folder / "recipe.toml")
    trained = effective_sigma(trained_model(experiment, folder / "model.safetensors"), experiment.hardware)
    assert json.loads(capsys.readouterr().out)["sigma_of_rms"] == pytest.approx(trained.of_rms)
    assert call(["check", str(folder / "recipe.toml")]) == 0
    assert "as they are before training:" in capsys.readouterr().out


def test_cost_takes_the_folder_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["cost", str(folder), "--json"]) == 0
    told = capsys.readouterr().out
    assert call(["cost", str(folder / "recipe.toml"), "--json"]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("command", ["check", "cost"])
def test_a_change_of_the_training_is_refused_in_one_line(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([command, str(folder), "--set", "model.hidden=[8]"]) == 2
    told = capsys.readouterr().err
    assert "on which the trained weights depend" in told
    assert told.count("\n") == 1
