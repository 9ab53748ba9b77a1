"""A run is executed once; interrupted anywhere, it ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call

from everychip.config.toml import write_toml
from everychip.errors import StoreError
from everychip.hardware.chip import program
from everychip.progress import Event
from everychip.storage.table import COLUMNS
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment

Make = Callable[..., Experiment]


def test_a_run_folder_holds_its_recipe_weights_draws_and_proof(tmp_path: Path, tiny: Make) -> None:
    experiment = tiny({"title": "mine"})
    done = run(experiment, tmp_path / "run")
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert names == {"recipe.toml", "model.safetensors", "draws.parquet", "run.json"}
    assert done.id == experiment.id
    assert Experiment.read(done.recipe(), where="recipe") == experiment
    assert {"python", "torch", "everychip", "commit", "processor"} <= done.record["environment"].keys()
    draws = done.draws()
    assert list(draws) == list(COLUMNS)
    assert draws["sigma"] == [0.0, 0.0, 0.2, 0.2]
    assert draws["chip"] == [0, 1, 0, 1]
    assert set(draws["images"]) == {540}


def test_the_draws_are_those_of_the_stored_weights_on_the_programmed_chips(
    tmp_path: Path, tiny: Make
) -> None:
    from safetensors.torch import load_file

    experiment = tiny()
    draws = run(experiment, tmp_path).draws()
    splits = experiment.data.load()
    model = experiment.model.build(splits.input_shape, splits.classes)
    model.load_state_dict(load_file(tmp_path / store.MODEL))
    for row in range(len(draws["chip"])):
        hardware = experiment.hardware.with_sigma(draws["sigma"][row])
        chip = program(model, hardware, seed=experiment.seed, chip=draws["chip"][row])
        logits = functional_call(model, chip, (splits.test.x,))
        accuracy = (logits.argmax(1) == splits.test.y).double().mean()
        assert draws["accuracy"][row] == pytest.approx(float(accuracy), abs=1e-6)


def test_a_complete_run_is_not_executed_again(tmp_path: Path, tiny: Make) -> None:
    first = run(tiny(), tmp_path)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    events: list[Event] = []
    again = run(tiny({"title": "under another title"}), tmp_path, progress=events.append)
    assert again.record == first.record
    assert events == []
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}


def test_a_damaged_run_is_neither_used_nor_overwritten(tmp_path: Path, tiny: Make) -> None:
    run(tiny(), tmp_path)
    (tmp_path / store.MODEL).write_bytes(b"damage")
    with pytest.raises(StoreError, match="delete the folder"):
        run(tiny(), tmp_path)
    assert (tmp_path / store.MODEL).read_bytes() == b"damage"


def test_a_folder_of_another_run_is_refused(tmp_path: Path, tiny: Make) -> None:
    run(tiny(), tmp_path)
    with pytest.raises(StoreError, match="choose another folder"):
        run(tiny({"seed": 1}), tmp_path)


class _Interruption:
    """Raises KeyboardInterrupt at the n-th event of a stage."""

    def __init__(self, stage: str, after: int) -> None:
        self.stage, self.after = stage, after

    def __call__(self, event: Event) -> None:
        if event.stage == self.stage:
            self.after -= 1
            if self.after == 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize(("stage", "after"), [("training", 1), ("training", 3), ("chips", 1), ("chips", 3)])
@pytest.mark.parametrize("method", ["irs", "ovf"])
def test_an_interrupted_run_ends_with_the_same_bits(
    tmp_path: Path, tiny: Make, stage: str, after: int, method: str
) -> None:
    experiment = tiny({"method": {"kind": method}, "training": {"epochs": 3}})
    whole = run(experiment, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path / "broken", progress=_Interruption(stage, after))
    left = {file.name for file in (tmp_path / "broken").rglob("*") if file.is_file()}
    assert not any(name.endswith(".part") for name in left)
    assert "run.json" not in left
    assert "draws.parquet" not in left
    resumed = run(experiment, tmp_path / "broken")
    assert resumed.draws() == whole.draws()
    assert resumed.record["history"] == whole.record["history"]
    assert resumed.record["sha256"][store.MODEL] == whole.record["sha256"][store.MODEL]


def test_an_interrupted_evaluation_loses_one_sigma_at_most(tmp_path: Path, tiny: Make) -> None:
    experiment = tiny({"evaluation": {"sigma": [0.1, 0.2, 0.3], "chips": 4}})
    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path, progress=_Interruption("chips", 11))
    events: list[Event] = []
    run(experiment, tmp_path, progress=events.append)
    assert [event.values["sigma"] for event in events] == [0.3] * 4


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_run_killed_without_warning_goes_on_to_the_same_bits(tmp_path: Path, tiny: Make) -> None:
    experiment = tiny({"training": {"epochs": 60}})
    whole = run(experiment, tmp_path / "whole")
    (tmp_path / "recipe.toml").write_text(write_toml(experiment.table()), encoding="utf-8")
    command = [sys.executable, "-m", "everychip", "run", str(tmp_path / "recipe.toml"), "--output"]
    broken = tmp_path / "broken"
    with subprocess.Popen([*command, str(broken)], stderr=subprocess.DEVNULL) as process:
        patience = time.monotonic() + 300
        while not list(broken.glob("partial/checkpoint*")) and time.monotonic() < patience:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (broken / store.RECORD).exists()
    resumed = run(experiment, broken)
    assert resumed.draws() == whole.draws()
    assert resumed.record["sha256"][store.MODEL] == whole.record["sha256"][store.MODEL]


def test_without_noise_every_chip_is_the_one_that_was_measured(tmp_path: Path, tiny: Make) -> None:
    quiet = {"evaluation": {"sigma": [0.0], "chips": 3}}
    draws = run(tiny(quiet), tmp_path / "all").draws()
    alone = run(tiny({"evaluation": {"sigma": [0.0], "chips": 1}}), tmp_path / "one").draws()
    assert draws["chip"] == [0, 1, 2]
    assert draws["accuracy"] == alone["accuracy"] * 3


def test_each_chip_may_meet_its_own_part_of_the_test_images(tmp_path: Path, tiny: Make) -> None:
    draws = run(tiny({"evaluation": {"sigma": [0.0, 0.2], "chips": 5, "images": 60}}), tmp_path).draws()
    assert set(draws["images"]) == {60}
    assert set(draws["whole_test"]) == {False}
    assert len(set(draws["accuracy"][:5])) > 1, "even without noise, the chips differ by their images"


def test_two_methods_meet_the_same_chips(tmp_path: Path, tiny: Make) -> None:
    # The same training under two titles of method gives the same weights; the draws must then agree, too.
    one = run(tiny({"method": {"kind": "temperature", "temperature": 1.0}}), tmp_path / "one").draws()
    two = run(tiny({"method": {"kind": "noise_injection"}}), tmp_path / "two").draws()
    assert one["accuracy"] == two["accuracy"]
    assert one["method"] != two["method"]


def test_a_diverged_training_is_stored_in_words(tmp_path: Path, tiny: Make) -> None:
    wild: Mapping[str, Any] = {"training": {"lr": 1e30, "optimizer": "sgd", "epochs": 2}}
    done = run(tiny(wild), tmp_path)
    assert done.status == "diverged"
    assert "was nan" in done.record["words"]
    assert store.open_run(tmp_path).draws()["chip"] == []


def test_a_diverged_network_with_exits_is_stored_in_words_too(tmp_path: Path, tiny: Make) -> None:
    wild: Mapping[str, Any] = {
        "model": {"kind": "multi_exit", "of": {"kind": "mlp", "hidden": [8]}},
        "training": {"lr": 1e30, "optimizer": "sgd", "epochs": 2},
    }
    assert run(tiny(wild), tmp_path).status == "diverged"
    assert store.open_run(tmp_path).draws()["chip"] == []


def test_the_threads_of_a_recipe_hold_for_its_run_only(tmp_path: Path, tiny: Make) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        seen: set[int] = set()
        told = tiny({"compute": {"threads": 1}})
        run(told, tmp_path, progress=lambda event: seen.add(torch.get_num_threads()))
        assert seen == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_run_leaves_the_global_generators_where_they_were(
    tmp_path: Path, tiny: Make, global_generators_untouched: None
) -> None:
    run(tiny(), tmp_path)
