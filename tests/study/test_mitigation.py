"""A recipe may mitigate its chips, calibrated on its training data; without, it is the run it always was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model

from everychip.config.toml import read_toml, write_toml
from everychip.data import Data, split_holdout
from everychip.errors import ConfigError, EverychipError
from everychip.evaluation.monte_carlo import evaluate
from everychip.mitigate import DriftCompensation, Mitigation
from everychip.progress import Event
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.study import run_study
from everychip.study.suitable import calibration_of

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


@pytest.mark.parametrize(
    ("policy", "of"), [(None, "training"), ("combined", "validation"), ("per_chip", "validation")]
)
def test_batch_norm_beside_a_policy_is_measured_on_the_images_that_the_policy_takes(
    tiny: Make, policy: str | None, of: str
) -> None:
    evaluation: dict[str, Any] = {"mitigation": {"kind": "bn_recalibration", "images": 50}}
    experiment = tiny({"evaluation": evaluation | ({"policy": policy} if policy else {})})
    splits = experiment.data.load()
    parts = split_holdout(splits.train, experiment.training.validation, seed=experiment.seed)
    wanted = {"training": splits.train, "validation": parts[1]}[of]
    taken = calibration_of(experiment, splits)
    assert taken is not None
    assert torch.equal(taken.x, wanted.x)


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


UNSUITABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no batch norm": ({"mitigation": "bn_recalibration"}, "no batch norm"),
    "too many images": ({"mitigation": {"kind": "drift_compensation", "images": 5000}}, "at least the 5000"),
    "no chain": (
        {"mitigation": {"kind": "selective_write_verify", "fraction": 0.1, "score": "swim"}},
        'score = "fisher" takes any model$',
    ),
    "no nominal sigma": (
        {"sigma": [], "mitigation": {"kind": "selective_write_verify", "fraction": 0.1, "score": "random"}},
        "no nominal σ",
    ),
    "the second of two": (
        {"mitigation": {"kind": "sequence", "mitigations": ["drift_compensation", "bn_recalibration"]}},
        "no batch norm",
    ),
}
CHANGES: dict[str, dict[str, Any]] = {
    "no chain": {"model": {"kind": "resnet18", "width": 1}},
    "no nominal sigma": {"hardware": {"device": {"kind": "ideal"}}},
}


@pytest.mark.parametrize("case", UNSUITABLE)
def test_a_mitigation_that_does_not_suit_is_refused_before_the_training(
    tmp_path: Path, tiny: Make, case: str
) -> None:
    evaluation, words = UNSUITABLE[case]
    experiment = tiny({"evaluation": evaluation, **CHANGES.get(case, {})})
    events: list[Event] = []
    with pytest.raises(EverychipError, match=words):
        run(experiment, tmp_path / "run", progress=events.append)
    assert events == []
    assert not list(tmp_path.rglob("*.safetensors")), "neither weights nor a checkpoint"


def test_the_command_line_refuses_it_in_one_line(
    tmp_path: Path, tiny: Make, written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from everychip.cli import call

    recipe = written(tiny({"evaluation": {"mitigation": "bn_recalibration"}}).table(), "recipe.toml")
    assert call(["run", str(recipe), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "no batch norm" in error and error.count("\n") == 1
    assert call(["check", str(recipe)]) == 0
    assert "mitigation does not suit it: Sequential: found no batch norm" in capsys.readouterr().out


def test_in_a_study_that_run_fails_and_the_others_go_on(tmp_path: Path, study: Callable[..., Study]) -> None:
    axes = {"variant": {"": {}, "recalibrated": {"evaluation": {"mitigation": "bn_recalibration"}}}}
    grid = study({"axes": axes, "sweep": {"seed": [0]}})
    outcome = run_study(grid, tmp_path)
    failed = {e.labels["variant"] for e in outcome.grid.experiments if e.id in outcome.failed}
    assert failed == {"recalibrated"} and len(outcome.failed) == 2
    assert all("no batch norm" in words for words in outcome.failed.values())


def test_a_run_and_its_study_record_what_the_mitigation_did(
    tmp_path: Path, study: Callable[..., Study]
) -> None:
    axes = {"method": {"vanilla": {"method": "vanilla"}}, "variant": {"": {}, "verified": VERIFY}}
    outcome = run_study(study({"axes": {**axes}, "sweep": {"seed": [0]}}), tmp_path)
    # Half of the weights are written ten times, the others once: 5.5 of 10.
    facts = {"score": "swim", "share_verified": 0.5, "normalised_write_cycles": 0.55}
    said = [{"mitigation": "selective_write_verify", **facts}]
    rows = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))["runs"]
    for experiment, row in zip(outcome.grid.experiments, rows, strict=True):
        record = store.open_run(tmp_path / "runs" / experiment.id).record
        if experiment.labels.get("variant") == "verified":
            assert record["treatment"] == row["treatment"] == said
        elif experiment.method.kind == "vanilla":
            assert "treatment" not in record and "treatment" not in row


def test_an_interrupted_evaluation_forgets_nothing_of_what_the_mitigation_did(
    tmp_path: Path, tiny: Make
) -> None:
    whole = run(tiny(VERIFY), tmp_path / "whole").record

    def interrupt(event: Event) -> None:
        if event.stage == "chips" and event.values["sigma"] > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny(VERIFY), tmp_path / "broken", progress=interrupt)
    assert run(tiny(VERIFY), tmp_path / "broken").record["treatment"] == whole["treatment"]
    names = {file.name for file in (tmp_path / "broken").iterdir()}
    assert names == {"recipe.toml", "model.safetensors", "draws.parquet", "run.json"}
