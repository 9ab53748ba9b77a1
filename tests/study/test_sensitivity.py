"""A finished run is asked layer by layer: the weights and chips are its own, the answer lies beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everychip.config.component import merge
from everychip.errors import ConfigError, StoreError
from everychip.evaluation.break_even import break_even
from everychip.evaluation.monte_carlo import evaluate
from everychip.evaluation.sensitivity import sensitivity
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.sensitivity import FILE, Question, ask
from everychip.study.trained import trained_model

Make = Callable[..., Experiment]
PCM: Mapping[str, Any] = {
    "hardware": {"device": {"preset": "PCM-Nandakumar"}, "mapping": {"kind": "direct"}},
    "evaluation": {"sigma": [], "chips": 2, "time": ["1h", "1y"]},
}
QUICK = Question(chips=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, trained a little, so that there is something to lose."""
    place = tmp_path_factory.mktemp("asked") / "run"
    settings = ["training.epochs=3", "evaluation.chips=2", "model.hidden=[16]", "method.kind=vanilla"]
    run(Experiment.from_toml("digits", settings), place)
    return place


def test_the_answer_is_that_of_the_library_for_the_stored_weights(folder: Path) -> None:
    found = ask(folder, QUICK)
    experiment = Experiment.read(store.open_run(folder).recipe(), where="recipe")
    splits = experiment.data.load()
    model = trained_model(experiment, folder / store.MODEL)
    expected = sensitivity(model, experiment.hardware, splits.test, chips=3, seed=experiment.seed)
    assert found.sensitivity.table() == expected.table()
    assert found.break_even is not None
    by_hand = break_even(
        model, experiment.hardware, splits.test, drop="1 point", chips=3, seed=experiment.seed, tolerance=0.02
    )
    assert found.break_even.table() == by_hand.table()


def test_the_answer_is_kept_in_the_folder_and_the_run_stays_complete(folder: Path) -> None:
    found = ask(folder, QUICK)
    kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
    assert kept["sensitivity"]["layers"] == found.sensitivity.table()["layers"]
    assert (kept["device"], kept["sigma"], kept["settings"]) == ("gaussian", 0.2, [])
    assert not list(folder.glob(".*"))
    assert store.open_run(folder).record["status"] == "above_chance"


def test_settings_change_the_hardware_and_leave_the_weights(folder: Path) -> None:
    before = store.open_run(folder).record
    found = ask(folder, Question(chips=3, settings=("hardware.device.sigma=0.0", "evaluation.sigma=[]")))
    assert found.sensitivity.noisy.estimate == found.sensitivity.clean
    assert all(row.lost.estimate == 0 for row in found.sensitivity.layers)
    assert store.open_run(folder).record == before


def test_a_device_without_sigma_has_layers_and_no_break_even(tmp_path: Path, tiny: Make) -> None:
    run(tiny(PCM), tmp_path)
    found = ask(tmp_path, QUICK)
    assert found.break_even is None
    assert found.remarks == ("No break-even: PCM-Nandakumar at 0 s has no nominal σ to change.",)
    aged = ask(tmp_path, Question(chips=3, settings=("hardware.device.time=1y",)))
    assert aged.sensitivity.noisy.estimate != found.sensitivity.noisy.estimate
    with pytest.raises(ConfigError, match=r"--target: found that PCM-Nandakumar .* no nominal σ"):
        ask(tmp_path, Question(chips=3, target=0.5))


def test_a_run_on_an_array_is_asked_through_it_with_measured_ranges(folder: Path) -> None:
    coarse = "hardware.array={ rows = 16, columns = 16, dac_bits = 3, adc_bits = 3 }"
    found = ask(folder, Question(chips=3, settings=(coarse,)))
    experiment = found.experiment
    splits = experiment.data.load()
    model = trained_model(experiment, folder / store.MODEL)
    options: dict[str, Any] = {"chips": 3, "seed": experiment.seed, "calibration": splits.train}
    by_hand = evaluate(model, experiment.hardware, splits.test, **options).verdict().mean
    assert found.sensitivity.noisy == by_hand
    assert found.break_even is not None
    assert found.break_even.clean == found.sensitivity.clean
    assert found.remarks == ("Through the array: without noise means without that of the cells.",)
    assert found.sensitivity.clean != ask(folder, QUICK).sensitivity.clean


def test_a_mitigation_of_the_recipe_is_left_out_and_said(tmp_path: Path, tiny: Make) -> None:
    calibrated = {"evaluation": {"chips": 2, "mitigation": {"kind": "drift_compensation"}}}
    run(tiny(merge(PCM, calibrated)), tmp_path)
    assert "drift_compensation is left out" in ask(tmp_path, QUICK).remarks[0]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (
            Question(chips=3, settings=("training.epochs=4",)),
            "--set training: found a key on which the trained",
        ),
        (Question(chips=3, settings=("hardware.device.sigm=1",)), "did you mean sigma"),
        (Question(chips=3, target=0.9, drop="1 point"), "both a target and a drop"),
        (Question(chips=3, drop="some"), "1 point"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(folder: Path, question: Question, words: str) -> None:
    (folder / FILE).unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=words) as caught:
        ask(folder, question)
    assert "\n" not in str(caught.value)
    assert not (folder / FILE).exists()


def test_a_study_and_a_diverged_run_are_refused_in_one_line(tmp_path: Path, tiny: Make) -> None:
    study = tmp_path / "study"
    run(tiny({"training": {"lr": 1e30, "optimizer": "sgd", "epochs": 2}}), study / "runs" / "a")
    with pytest.raises(StoreError, match="a diverged training"):
        ask(study / "runs" / "a", QUICK)
    (study / "study.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"many trained models; .* name one of them: .*runs/a"):
        ask(study, QUICK)
    with pytest.raises(StoreError, match=r"no run\.json"):
        ask(tmp_path, QUICK)


def test_a_device_with_a_bias_is_said_to_be_another_without_noise():
    from everychip.devices import Gaussian, Measured, preset
    from everychip.devices.measured import Law
    from everychip.study.sensitivity import _is_biased

    drifted = Law(g=(0, 1), bias=(0, -0.2), cell_to_cell=(0.05, 0.05))
    assert _is_biased(Measured(laws=(drifted,), g_max=25, source="a.csv"))
    assert not _is_biased(Gaussian(sigma=0.1))
    assert not _is_biased(preset("RRAM1", sigma=0.4))
