"""Accuracy over time: each chip is programmed once, and the same chip is read at every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from everychip.config.component import merge
from everychip.hardware.chip import program
from everychip.progress import Event
from everychip.report.reading import load
from everychip.report.setting import setting
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.grid import Study

Make = Callable[..., Experiment]
DAY, YEAR = 86_400.0, 31_536_000.0
AGED: Mapping[str, Any] = {
    "hardware": {"device": {"preset": "PCM-Nandakumar"}, "mapping": {"kind": "direct"}},
    "evaluation": {"sigma": [], "chips": 4, "time": ["1h", "1y"]},
}


def accuracies(draws: Mapping[str, list[Any]], time: float) -> list[float]:
    return [value for value, at in zip(draws["accuracy"], draws["time"], strict=True) if at == time]


def test_the_draws_tell_the_time_and_are_those_of_a_run_at_that_time_alone(
    tmp_path: Path, tiny: Make
) -> None:
    draws = run(tiny(AGED), tmp_path / "both").draws()
    assert draws["time"] == [3600.0] * 4 + [YEAR] * 4
    assert draws["chip"] == [0, 1, 2, 3] * 2
    assert set(draws["device"]) == {"PCM-Nandakumar"}
    # Vanilla training reads no device, so that only the evaluation can differ.
    plain = merge(AGED, {"method": {"kind": "vanilla"}})
    both = run(tiny(plain), tmp_path / "plain").draws()
    alone = run(
        tiny(merge(plain, {"hardware": {"device": {"time": "1y"}}, "evaluation": {"time": []}})),
        tmp_path / "alone",
    ).draws()
    assert accuracies(both, YEAR) == alone["accuracy"]
    assert alone["time"] == [YEAR] * 4


def test_a_chip_keeps_its_programming_draw_and_each_cell_its_drift(tiny: Make) -> None:
    experiment = tiny(merge(AGED, {"hardware": {"device": {"read_noise": 0.0}}}))
    splits = experiment.data.load()
    model = experiment.model.build(splits.input_shape, splits.classes, seed=0)
    hour, year = (program(model, condition.hardware, seed=0, chip=3) for condition in experiment.conditions())
    fresh = program(model, experiment.hardware, seed=0, chip=3)
    decades = [torch.log(torch.tensor(1 + time / 20)) for time in (3600.0, YEAR)]
    name = next(iter(fresh))
    held = fresh[name] != 0
    slopes = [
        (aged[name][held] / fresh[name][held]).log() / span
        for aged, span in zip((hour, year), decades, strict=True)
    ]
    # ln(G / G_0) = −ν·ln(t / t0) with one ν for each cell, whatever the time.
    assert torch.allclose(slopes[0], slopes[1], atol=1e-4)
    assert float(slopes[0].std()) > 0.001


def test_without_drift_and_read_noise_a_chip_is_the_same_at_every_time(tmp_path: Path, tiny: Make) -> None:
    still = {"hardware": {"device": {"drift": 0.0, "read_noise": 0.0}}}
    draws = run(tiny(merge(AGED, still)), tmp_path).draws()
    assert accuracies(draws, 3600.0) == accuracies(draws, YEAR)
    assert len(set(accuracies(draws, YEAR))) > 1, "and the chips are not one another"


def test_a_device_that_does_not_age_has_no_time_in_its_draws(tmp_path: Path, tiny: Make) -> None:
    assert set(run(tiny(), tmp_path).draws()["time"]) == {None}


def test_an_interrupted_evaluation_loses_one_time_at_most(tmp_path: Path, tiny: Make) -> None:
    def stop(event: Event) -> None:
        if event.stage == "chips" and event.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny(AGED), tmp_path / "broken", progress=stop)
    events: list[Event] = []
    resumed = run(tiny(AGED), tmp_path / "broken", progress=events.append)
    assert [event.values["time"] for event in events] == [YEAR] * 4
    assert resumed.draws() == run(tiny(AGED), tmp_path / "whole").draws()


def test_the_shipped_study_trains_once_for_both_variants_and_spans_a_year() -> None:
    experiments = Study.from_toml("accuracy-over-time").expand().experiments
    assert len(experiments) == 2 * len({experiment.training_id for experiment in experiments}) == 12
    for experiment in experiments:
        assert experiment.evaluation.time == (25.0, 3600.0, DAY, 30 * DAY, YEAR)


def test_the_report_says_when_chips_were_read_and_at_which_time_the_device_was_in_training(
    tmp_path: Path, tiny: Make
) -> None:
    def told(name: str, *changes: Mapping[str, Any]) -> str:
        table: Mapping[str, Any] = AGED
        for change in changes:
            table = merge(table, change)
        run(tiny(table), tmp_path / name)
        return dict(setting(load(tmp_path / name)))["read"]

    day = {"hardware": {"device": {"time": "1d"}}}
    read = "1 h … 1 year after programming"
    assert told("own", {"method": {"kind": "noise_injection"}}, day) == f"{read}; trained at 1 day"
    assert told("vanilla", {"method": {"kind": "vanilla"}}, day) == read  # which meets no device
