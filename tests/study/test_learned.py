"""A run whose training learns full scales: evaluated with them, and taken along by whoever opens it."""

from __future__ import annotations

import json

import pytest

import everychip as ec
from everychip.errors import ModelError
from everychip.export import to_aihwkit
from everychip.export.networks import INSTALL
from everychip.study import store
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.trained import asked_of, trained_model

SETTINGS = [
    "model=mlp",
    "training.epochs=2",
    "evaluation.chips=3",
    "evaluation.sigma=[0.1]",
    'hardware.mapping.kind="direct"',
    "hardware.array.dac_bits=4",
    'method={ kind = "noise_injection", inputs = {}, scales = { start = 2.5 } }',
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned") / "run"
    return run(Experiment.from_toml("digits", SETTINGS), folder)


def test_the_record_has_what_was_learned_and_the_draws_are_of_chips_with_it(done):
    learned = json.loads((done.folder / store.RECORD).read_text())["learned"]
    assert learned["dac_ranges"].keys() == learned["full_scales"].keys()
    experiment = asked_of(done.folder, ())
    assert experiment.hardware.array.dac_ranges == learned["dac_ranges"]
    splits = experiment.data.load()
    model = trained_model(experiment, done.folder / store.MODEL, splits=splits)
    how = {"chips": 3, "seed": experiment.seed, "calibration": splits.train}
    draws = ec.evaluate(model, experiment.conditions()[0].hardware, splits.test, **how)
    assert draws.accuracy.tolist() == done.draws()["accuracy"]
    bare = Experiment.from_toml(done.folder / store.RECIPE).conditions()[0].hardware
    assert ec.evaluate(model, bare, splits.test, **how).accuracy.tolist() != draws.accuracy.tolist()


def test_a_run_of_the_same_training_takes_over_what_it_learned(done, tmp_path):
    more = Experiment.from_toml("digits", [*SETTINGS[:2], "evaluation.chips=4", *SETTINGS[3:]])
    other = run(more, tmp_path / "other", trained=done.folder)
    assert other.record["learned"] == done.record["learned"] and other.record["trained_by"] == done.id
    assert other.draws()["accuracy"][:3] == done.draws()["accuracy"]


def test_weights_that_are_clipped_are_not_exported(done):
    experiment = asked_of(done.folder, ())
    model = trained_model(experiment, done.folder / store.MODEL)
    pytest.importorskip("aihwkit", reason=INSTALL)
    with pytest.raises(ModelError, match="learned full scales, which clip weights"):
        to_aihwkit(model, experiment.hardware)


def test_recipes_without_learning_have_no_such_keys():
    table = Experiment.from_toml("digits", ["hardware.array.dac_bits=8"]).table()
    assert not {"inputs", "scales"} & table["method"].keys()
    assert not {"dac_ranges", "adc_noise"} & table["hardware"]["array"].keys()
    assert "full_scales" not in table["hardware"]["mapping"]
