"""Runs that differ in their evaluation only are trained once, and are what they would be alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everychip.progress import Event
from everychip.study import sharing, store
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.study import Watcher, run_study

Make = Callable[..., Experiment]
MITIGATIONS = {
    "none": {},
    "drift": {"evaluation": {"mitigation": {"kind": "drift_compensation", "images": 20}}},
    "verify": {
        "evaluation": {"mitigation": {"kind": "selective_write_verify", "fraction": 0.5, "images": 20}}
    },
}
DRIFT = MITIGATIONS["drift"]


class Notes(Watcher):
    """Which runs were trained, by their label; may interrupt when it hears of chips so often."""

    def __init__(self, interrupt_at_chip: int | None = None) -> None:
        self.names: dict[str, str] = {}
        self.trained: list[str] = []
        self.left = interrupt_at_chip

    def started(self, experiment: Experiment) -> None:
        self.names[experiment.id] = experiment.labels["mitigation"]

    def event(self, run: str, event: Event) -> None:
        if event.stage == "training" and self.names[run] not in self.trained:
            self.trained.append(self.names[run])
        if event.stage == "chips" and self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@pytest.fixture
def mitigated(study: Callable[..., Study]) -> Study:
    """One method, one seed, three mitigations."""
    chosen = study({"axes": {"mitigation": MITIGATIONS}, "sweep": {"seed": [0]}})
    return chosen.replace(axes={**chosen.axes, "method": {"irs": {"method": {"kind": "irs", "hidden": 8}}}})


def records(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("runs/*/run.json")]
    return {record["labels"]["mitigation"]: record for record in found}


def must_be_what_they_are_alone(folder: Path, study: Study, alone: Path) -> None:
    """Weights, history, verdict and draws, to the bit."""
    for experiment in study.expand().experiments:
        lonely = run(experiment, alone / experiment.id).record
        shared = store.open_run(folder / "runs" / experiment.id).record
        assert shared["sha256"] == lonely["sha256"]
        assert {key: shared[key] for key in sharing.OF_TRAINING} == {
            key: lonely[key] for key in sharing.OF_TRAINING
        }


def test_only_the_evaluation_and_words_do_not_matter_to_a_training(tiny: Make) -> None:
    plain = tiny()
    for same in (DRIFT, {"evaluation": {"chips": 7, "sigma": [0.3]}}, {"title": "mine"}):
        assert tiny(same).training_id == plain.training_id
    different = (
        {"training": {"lr": 0.5}},
        {"model": {"hidden": [17]}},
        {"hardware": {"device": {"sigma": 0.3}}},
        {"method": {"kind": "vanilla"}},
        {"training": {"epochs": 2}},
        {"compute": {"threads": 2}},
        {"seed": 1},
    )
    assert len({plain.training_id, *(tiny(change).training_id for change in different)}) == 8


def test_a_study_over_mitigations_trains_once_and_every_run_is_what_it_is_alone(
    tmp_path: Path, mitigated: Study
) -> None:
    notes = Notes()
    assert run_study(mitigated, tmp_path / "study", watcher=notes).failed == {}
    assert notes.trained == ["none"]
    found = records(tmp_path / "study")
    assert "trained_by" not in found["none"]
    for name in ("drift", "verify"):
        assert found[name]["trained_by"] == found["none"]["id"]
        assert found[name]["training_environment"] == found["none"]["environment"]
        assert list(found[name]["seconds_by_stage"]) == ["evaluation"]
    rows = json.loads((tmp_path / "study" / "study.json").read_text())["runs"]
    assert [row["trained_by"] for row in rows] == [None, *[found["none"]["id"]] * 2]
    assert len({row["training_id"] for row in rows}) == 1
    must_be_what_they_are_alone(tmp_path / "study", mitigated, tmp_path / "alone")


@pytest.mark.parametrize("chip", [1, 2, 3])  # of three runs, each tells at least one
def test_a_study_interrupted_anywhere_ends_with_the_same_bits(
    tmp_path: Path, mitigated: Study, chip: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(mitigated, tmp_path / "study", watcher=Notes(interrupt_at_chip=chip))
    assert not list((tmp_path / "study").rglob("*.part"))
    notes = Notes()
    assert run_study(mitigated, tmp_path / "study", watcher=notes).failed == {}
    assert notes.trained == [], "the one training there is was finished before the first chip"
    must_be_what_they_are_alone(tmp_path / "study", mitigated, tmp_path / "alone")


def test_a_study_that_grew_by_a_mitigation_takes_the_weights_it_has(
    tmp_path: Path, study: Callable[..., Study]
) -> None:
    run_study(study(), tmp_path)
    trained = []

    class Listener(Watcher):
        def event(self, run: str, event: Event) -> None:
            trained.extend([run] * (event.stage == "training"))

    outcome = run_study(study({"base": DRIFT}), tmp_path, watcher=Listener())
    assert (outcome.executed, outcome.failed, trained) == (4, {}, [])


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_workers_wait_for_a_training_they_share(tmp_path: Path, mitigated: Study) -> None:
    notes = Notes()
    assert run_study(mitigated, tmp_path / "study", workers=2, watcher=notes).failed == {}
    assert notes.trained == ["none"]
    must_be_what_they_are_alone(tmp_path / "study", mitigated, tmp_path / "alone")


def _nothing(source: Path) -> None:
    shutil.rmtree(source)


def _damaged(source: Path) -> None:
    weights = bytearray((source / store.MODEL).read_bytes())
    weights[-1] ^= 1
    (source / store.MODEL).write_bytes(weights)


def _of_another(source: Path) -> None:
    text = (source / store.RECIPE).read_text()
    (source / store.RECIPE).write_text(text.replace("seed = 0", "seed = 1"))


def _half_a_record(source: Path) -> None:
    text = (source / store.RECORD).read_text()
    (source / store.RECORD).write_text(text[: len(text) // 2])


@pytest.mark.parametrize("spoil", [_nothing, _damaged, _of_another, _half_a_record])
def test_a_source_that_is_not_as_it_was_written_is_not_used(
    tmp_path: Path, tiny: Make, spoil: Callable[[Path], None]
) -> None:
    alone = run(tiny(DRIFT), tmp_path / "alone").record
    run(tiny(), tmp_path / "source")
    spoil(tmp_path / "source")
    done = run(tiny(DRIFT), tmp_path / "run", trained=tmp_path / "source").record
    assert "trained_by" not in done
    assert done["sha256"] == alone["sha256"]


def test_an_interruption_between_weights_and_their_record_trains_anew(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny(), tmp_path / "source")
    before = store.open_run(tmp_path / "source").record

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("everychip.study.unfinished.Unfinished.keep", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(DRIFT), tmp_path / "run", trained=tmp_path / "source")
    monkeypatch.undo()
    assert (tmp_path / "run" / store.MODEL).exists()
    done = run(tiny(DRIFT), tmp_path / "run")
    assert "trained_by" not in done.record
    assert done.record["sha256"][store.MODEL] == before["sha256"][store.MODEL]
    assert store.open_run(tmp_path / "source").record == before, "the source is as it was"


def test_where_files_cannot_have_two_names_they_are_copied(
    tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    source = run(tiny(), tmp_path / "source")
    done = run(tiny(DRIFT), tmp_path / "run", trained=tmp_path / "source")
    assert done.record["trained_by"] == source.id
    assert (tmp_path / "run" / store.MODEL).stat().st_nlink == 1


def test_a_training_is_named_by_the_run_that_made_it_however_far_it_went(tmp_path: Path, tiny: Make) -> None:
    first = run(tiny(), tmp_path / "first")
    run(tiny(DRIFT), tmp_path / "second", trained=tmp_path / "first")
    third = run(tiny({"evaluation": {"chips": 3}}), tmp_path / "third", trained=tmp_path / "second")
    assert third.record["trained_by"] == first.id
