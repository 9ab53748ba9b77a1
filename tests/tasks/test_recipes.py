"""Recipes of every task: run, reported and asked for their weak layers, in the words of their score."""

from __future__ import annotations

import json
import re

import pytest
import torch

import everychip as ec
from everychip.cli import main
from everychip.config.toml import read_toml
from everychip.errors import ConfigError, StoreError
from everychip.study.experiment import Experiment

QUICK = ["training.epochs=1", "evaluation.chips=4", "training.validation_chips=1"]
NAMED = {
    "regression": "RMSE",
    "multilabel": "F1",
    "segmentation": "mIoU",
    "language-model": "perplexity",
    "analog-foundation-start": "perplexity",
    "embedding": "recall",
    "detection": "mAP",
}


def command(*words: object) -> int:
    try:
        return main([str(word) for word in words]) or 0
    except SystemExit as done:
        return int(done.code or 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMED)
def test_a_recipe_is_run_and_reported_in_the_words_of_its_score(name, tmp_path, capsys):
    settings = [word for setting in QUICK for word in ("--set", setting)]
    assert command("run", name, *settings, "--output", tmp_path / "run") == 0
    assert command("report", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert NAMED[name] in said and "ccuracy" not in said
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert NAMED[name] in page
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "mean accuracy" not in shown.lower().replace("the mean accuracy over chips", "")
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["score"]["name"] == NAMED[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_labels_of_tokens_are_run_and_reported_beside_their_loss_and_perplexity(tmp_path, capsys):
    from everychip.storage.table import read_table

    settings = [word for setting in QUICK for word in ("--set", setting)]
    assert command("run", "tokens", *settings, "--output", tmp_path / "run") == 0
    assert command("report", tmp_path / "run") == 0
    assert "σ" in capsys.readouterr().out
    rows = read_table(tmp_path / "run" / "draws.parquet")
    assert {"accuracy", "loss", "perplexity"} <= set(rows)
    experiment = Experiment.from_toml("tokens")
    labels = experiment.data.load().test.y
    labels = labels[labels != -100]
    most = float(torch.stack([labels == 0, labels == 1]).double().mean(1).max())
    assert experiment.task.chance(experiment.data.load().test.y) == pytest.approx(most)
    assert min(rows["accuracy"][:4]) > most, "one epoch without noise beats the commonest label"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_weak_layers_of_a_regression_are_printed_in_its_unit(tmp_path, capsys):
    settings = [word for setting in QUICK for word in ("--set", setting)]
    assert command("run", "regression", *settings, "--output", tmp_path / "run") == 0
    assert command("sensitivity", tmp_path / "run", "--chips", 3, "--drop", "5") == 0
    said = capsys.readouterr().out
    assert "RMSE lost" in said and "points lost" not in said
    assert command("report", tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for words in (
        "Which layers the noise hurts",
        "RMSE lost by the noise of one",
        "RMSE over σ, and its break-",
    ):
        assert words in page


def test_a_classification_says_nothing_of_its_task_and_keeps_its_identity():
    plain = Experiment.from_toml("digits")
    said = Experiment.from_toml("digits", ["task=classification"])
    assert "task" not in plain.table() and said.id == plain.id
    other = Experiment.from_toml("digits", ["task=segmentation"])
    assert other.table()["task"]["kind"] == "segmentation" and other.id != plain.id


def test_a_target_must_be_one_of_the_score():
    with pytest.raises(ConfigError, match=r"evaluation.target.*above 0, up to 1"):
        Experiment.from_toml("digits", ["evaluation.target=60.0"])
    assert Experiment.from_toml("regression", ["evaluation.target=60.0"]).evaluation.target == 60.0
    with pytest.raises(ConfigError, match="RMSE of 0"):
        Experiment.from_toml("regression", ["evaluation.target=-1.0"])


def test_draws_of_a_run_hold_every_score_of_its_task(tmp_path):
    from everychip.storage.table import read_table

    experiment = Experiment.from_toml("regression", QUICK)
    ec.run_experiment(experiment, tmp_path / "run")
    rows = read_table(tmp_path / "run" / "draws.parquet")
    assert rows["score"] == rows["RMSE"] and len(rows["MAE"]) == 12
    assert rows["accuracy"] == [None] * 12
    assert read_toml(tmp_path / "run" / "recipe.toml")["task"]["kind"] == "regression"


def test_runs_of_two_scores_stand_in_no_report_together():
    from pathlib import Path

    from everychip.report.grouping import _score_of
    from everychip.report.results import Run

    runs = [Run("a", {}, "above_chance", ""), Run("b", {}, "above_chance", "", score=ec.tasks.Score("RMSE"))]
    with pytest.raises(StoreError, match="runs of accuracy and RMSE"):
        _score_of(Path("study"), tuple(runs))
