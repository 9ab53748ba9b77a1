"""A recipe may mitigate its chips, calibrated on its training data; without, it is the run it always was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_model

from everychip.component import read_toml, write_toml
from everychip.data import Data
from everychip.errors import ConfigError
from everychip.mitigate import DriftCompensation, Mitigation
from everychip.monte_carlo import evaluate
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment

Make = Callable[..., Experiment]
VERIFY = {"evaluation": {"mitigation": {"kind": "selective_write_verify", "fraction": 0.5, "images": 100}}}


def test_a_recipe_without_mitigation_has_no_word_of_it_and_keeps_its_id(tiny: Make) -> None:
    assert "mitigation" not in tiny().table()["evaluation"]
    drift = tiny({"evaluation": {"mitigation": "drift_compensation"}})
    assert len({tiny().id, tiny(VERIFY).id, drift.id}) == 3


def test_a_run_measures_the_mitigated_chips_of_the_same_training(tmp_path: Path, tiny: Make) -> None:
    plain, mitigated = run(tiny(), tmp_path / "plain"), run(tiny(VERIFY), tmp_path / "mitigated")
    assert plain.record["sha256"][store.MODEL] == mitigated.record["sha256"][store.MODEL]
    one, two = plain.draws(), mitigated.draws()
    quiet = [sigma == 0 for sigma in one["sigma"]]
    for still, before, after in zip(quiet, one["nll"], two["nll"], strict=True):
        assert (before == after) == still
    data, experiment = Data.parse("digits").load(), tiny(VERIFY)
    model = experiment.model.build(data.input_shape, data.classes)
    load_model(model, tmp_path / "mitigated" / store.MODEL)
    mitigation = experiment.evaluation.mitigation
    assert isinstance(mitigation, Mitigation)
    hardware = experiment.hardware.with_sigma(0.2)
    draws = evaluate(model, hardware, data.test, chips=2, mitigation=mitigation, calibration=data.train)
    noisy = [nll for nll, still in zip(two["nll"], quiet, strict=True) if not still]
    assert draws.nll.tolist() == pytest.approx(noisy)


def test_the_command_line_and_a_written_recipe_know_it(tmp_path: Path, tiny: Make) -> None:
    experiment = Experiment.from_toml("digits", ["evaluation.mitigation=drift_compensation"])
    assert experiment.evaluation.mitigation == DriftCompensation()
    changed = Experiment.from_toml(
        "digits",
        ["evaluation.mitigation.kind=selective_write_verify", "evaluation.mitigation.fraction=0.1"],
    )
    assert changed.evaluation.mitigation.fraction == 0.1
    (tmp_path / "recipe.toml").write_text(write_toml(tiny(VERIFY).table()), encoding="utf-8")
    assert Experiment.read(read_toml(tmp_path / "recipe.toml"), where="recipe") == tiny(VERIFY)
    with pytest.raises(ConfigError, match=r"evaluation\.mitigation\.kind: found unknown mitigation 'drift'"):
        tiny({"evaluation": {"mitigation": "drift"}})
