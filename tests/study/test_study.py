"""A study is executed once: resumable, in parallel, a failure in one run does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everychip.errors import StoreError
from everychip.progress import Event
from everychip.storage.table import read_table
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.store import Run
from everychip.study.study import Watcher, run_study

Make = Callable[..., Study]


class Notes(Watcher):
    """Writes down what it is told, and may interrupt."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.told: list[str] = []
        self.events: list[Event] = []
        self.interrupt_after = interrupt_after

    def begin(self, waiting: int, complete: int) -> None:
        self.told.append(f"{waiting} waiting, {complete} complete")

    def started(self, experiment: Experiment) -> None:
        self.told.append(f"start {experiment.name}")

    def event(self, run: str, event: Event) -> None:
        self.events.append(event)

    def finished(self, experiment: Experiment, run: Run | None, words: str) -> None:
        self.told.append(f"end {experiment.name}" if run else f"no {experiment.name}: {words}")
        if self.interrupt_after is not None and len(self.told) >= self.interrupt_after:
            raise KeyboardInterrupt


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "study.json").read_text())
    return record


def test_a_study_folder_holds_everything_a_report_needs(tmp_path: Path, study: Make) -> None:
    chosen = study({"title": "A study", "skip": [{"method": "irs", "seed": 1}]})
    outcome = run_study(chosen, tmp_path, command="everychip study tiny")
    assert outcome.failed == {}
    assert outcome.executed == 3
    assert Study.from_toml(tmp_path / "study.toml") == chosen
    record = record_of(tmp_path)
    assert (record["name"], record["title"], record["command"]) == ("tiny", "A study", "everychip study tiny")
    assert record["axes"] == {"method": ["vanilla", "irs"], "seed": ["0", "1"]}
    assert record["left_out"] == [{"method": "irs", "seed": "1"}]
    assert [run["labels"] for run in record["runs"]] == [
        {"method": "vanilla", "seed": "0"}, {"method": "vanilla", "seed": "1"}, {"method": "irs", "seed": "0"}
    ]  # fmt: skip
    assert all(run["status"] in ("above_chance", "at_chance") for run in record["runs"])
    assert all(run["seconds"] > 0 for run in record["runs"])
    draws = read_table(tmp_path / "draws.parquet")
    assert len(draws["chip"]) == 3 * 2 * 2
    assert set(draws["run"]) == {path.name for path in (tmp_path / "runs").iterdir()}


def test_a_complete_study_is_not_executed_again(tmp_path: Path, study: Make) -> None:
    run_study(study(), tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    record, notes = record_of(tmp_path), Notes()
    outcome = run_study(study(), tmp_path, watcher=notes)
    assert outcome.executed == 0
    assert notes.told == ["0 waiting, 4 complete"]
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert record_of(tmp_path) == record


def test_a_study_that_grew_executes_only_what_is_new(tmp_path: Path, study: Make) -> None:
    run_study(study(), tmp_path)
    notes = Notes()
    run_study(study({"sweep": {"seed": [0, 1, 2]}}), tmp_path, watcher=notes)
    assert notes.told[0] == "2 waiting, 4 complete"
    assert len(read_table(tmp_path / "draws.parquet")["chip"]) == 6 * 4


def test_an_interrupted_study_is_reportable_and_goes_on_to_the_same_draws(
    tmp_path: Path, study: Make
) -> None:
    run_study(study(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path / "broken", watcher=Notes(interrupt_after=4))
    record = record_of(tmp_path / "broken")
    assert len(read_table(tmp_path / "broken" / "draws.parquet")["chip"]) == 2 * 4
    assert [run["status"] for run in record["runs"]].count("unfinished") == 2
    notes = Notes()
    run_study(study(), tmp_path / "broken", watcher=notes)
    assert notes.told[0] == "2 waiting, 2 complete"
    whole, resumed = (read_table(tmp_path / name / "draws.parquet") for name in ("whole", "broken"))
    assert resumed == whole


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_workers_give_the_same_draws_as_one_process_and_report_progress(tmp_path: Path, study: Make) -> None:
    chosen = study({"sweep": {"seed": [0]}})
    run_study(chosen, tmp_path / "serial")
    notes = Notes()
    run_study(chosen, tmp_path / "parallel", workers=2, watcher=notes)
    serial, parallel = (read_table(tmp_path / name / "draws.parquet") for name in ("serial", "parallel"))
    assert parallel == serial
    assert {event.stage for event in notes.events} == {"training", "chips"}


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path: Path, study: Make) -> None:
    broken = {"method": {"kind": "vanilla"}, "model": {"kind": "factory", "call": "torch.nn:NoSuchLayer"}}
    outcome = run_study(study({"axes": {"method": {"broken": broken}}, "sweep": {"seed": [0]}}), tmp_path)
    (words,) = outcome.failed.values()
    assert "no function 'NoSuchLayer'" in words
    statuses = {run["labels"]["method"]: run["status"] for run in record_of(tmp_path)["runs"]}
    assert statuses["broken"] == "failed"
    assert statuses["irs"] != "failed"
    assert set(read_table(tmp_path / "draws.parquet")["method"]) == {"vanilla", "irs"}


def test_a_bug_in_one_run_is_kept_for_its_finder_and_the_others_go_on(
    tmp_path: Path, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("of two\nlines")

    monkeypatch.setattr("everychip.methods.IRS.loss", fail)
    outcome = run_study(study(), tmp_path)
    assert len(outcome.failed) == 2
    for run, words in outcome.failed.items():
        assert words.startswith("ZeroDivisionError: of two lines")
        assert "in fail" in (tmp_path / "runs" / run / "partial" / "failure.txt").read_text()
    monkeypatch.undo()
    assert run_study(study(), tmp_path).failed == {}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_worker_that_dies_twice_fails_its_run_only(tmp_path: Path, study: Make) -> None:
    run_study(study({"sweep": {"seed": [0]}}), tmp_path)
    deadly = {"method": {"kind": "vanilla"}, "model": {"kind": "factory", "call": "os:abort"}}
    outcome = run_study(
        study({"axes": {"method": {"deadly": deadly}}, "sweep": {"seed": [0]}}), tmp_path, workers=2
    )
    assert list(outcome.failed.values()) == ["its worker process died twice (out of memory?)"]
    assert set(read_table(tmp_path / "draws.parquet")["method"]) == {"vanilla", "irs"}


def test_a_damaged_run_is_reported_and_never_merged(tmp_path: Path, study: Make) -> None:
    run_study(study(), tmp_path)
    victim = min((tmp_path / "runs").iterdir())
    (victim / "draws.parquet").write_bytes(b"damage")
    outcome = run_study(study(), tmp_path)
    assert list(outcome.failed) == [victim.name]
    assert "differs from its SHA-256" in outcome.failed[victim.name]
    assert victim.name not in read_table(tmp_path / "draws.parquet")["run"]


def test_a_damaged_record_of_a_study_is_written_anew(tmp_path: Path, study: Make) -> None:
    run_study(study(), tmp_path)
    whole = record_of(tmp_path)
    (tmp_path / "study.json").write_text("{")
    run_study(study(), tmp_path)
    assert record_of(tmp_path)["runs"] == whole["runs"]


@pytest.mark.parametrize("name", ["another", None])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, study: Make, name: str | None) -> None:
    if name:
        (tmp_path / "study.toml").write_text(f'name = "{name}"')
    else:
        (tmp_path / "thesis.tex").write_text("years of work")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoreError, match="--output DIR"):
        run_study(study(), tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_the_labels_of_finished_runs_follow_renamed_rows(tmp_path: Path, study: Make) -> None:
    def named(*names: str) -> Study:
        change = {"method": {"kind": "noise_injection"}}, {"method": {"kind": "vanilla"}}
        axes = {"method": dict(zip(names, change, strict=True)), "variant": {"plain": {}}}
        return study().replace(axes=axes, sweep={})

    run_study(named("noise", "base"), tmp_path)
    before = read_table(tmp_path / "draws.parquet")
    assert set(before["method"]) == {"noise", "base"}
    outcome = run_study(named("noise, as published", "base"), tmp_path)
    assert outcome.executed == 0
    after = read_table(tmp_path / "draws.parquet")
    assert after["method"] == [{"noise": "noise, as published"}.get(one, one) for one in before["method"]]
    assert {k: v for k, v in after.items() if k != "method"} == {
        k: v for k, v in before.items() if k != "method"
    }
    assert [run["labels"]["method"] for run in record_of(tmp_path)["runs"]] == ["noise, as published", "base"]
