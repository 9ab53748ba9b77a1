"""A study, executed: resumable, the same run never twice, its table of draws whole at any time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everychip.config.toml import content_hash, read_toml, write_toml
from everychip.errors import ConfigError, StoreError
from everychip.progress import Event
from everychip.storage.files import (
    digest,
    locked,
    make_folder,
    read_json,
    text_digest,
    write_record,
    write_text,
)
from everychip.storage.table import merge_tables
from everychip.study import store
from everychip.study.dispatch import Dispatch
from everychip.study.environment import distinct, environment, machine
from everychip.study.execution import opened
from everychip.study.executors import Executor, Processes
from everychip.study.experiment import Experiment
from everychip.study.grid import Grid, Study
from everychip.study.shards import Shard
from everychip.study.sharing import trainings
from everychip.study.start import beside

FORMAT = "everychip-study/1"
RECIPE, RECORD, DRAWS, RUNS = "study.toml", "study.json", "draws.parquet", "runs"
KNOWN = (
    "status",
    "words",
    "seconds",
    "best_epoch",
    "validation_accuracy",
    "digital",
    "score",
    "forwards",
    "classes",
    "trained_by",
    "trained_time",
)
"""What study.json repeats of each run's record."""
SAID = ("treatment", "answers")
"""What it repeats besides, where there is something to say."""
_SAVE_EVERY = 10.0  # seconds between two merges of the draws


class Watcher:
    """Takes the events of a study; this one ignores them."""

    def begin(self, waiting: int, complete: int) -> None:
        """So many runs are to be executed, so many are there already."""

    def started(self, experiment: Experiment) -> None:
        """A run was handed to a worker."""

    def event(self, run: str, event: Event) -> None:
        """A run is so far."""

    def finished(self, experiment: Experiment, run: store.Run | None, words: str) -> None:
        """A run is complete, or there is none for a reason in words."""


@dataclass(frozen=True)
class Outcome:
    """What came of a study: `failed` names the runs that there are not, and why."""

    folder: Path
    grid: Grid
    executed: int
    failed: Mapping[str, str]
    machines: tuple[str, ...] = ()
    """The processors that the runs were computed on, where there are several."""


def run_study(
    study: Study,
    folder: Path,
    *,
    workers: int = 1,
    on: Executor | None = None,
    shard: Shard | None = None,
    watcher: Watcher | None = None,
    command: str = "",
) -> Outcome:
    """Execute the runs of a study that its folder does not hold yet, `workers` at a time.

    Runs lie in `runs/<id>`. After every run the folder holds study.json and the draws of all complete runs,
    so a report is possible at any time. A run that fails is named in study.json, and the others go on.
    Runs that differ in their evaluation only are trained once: the others take the weights of the first.

    Args:
        study: a base and its axes.
        folder: of this study alone.
        workers: at most so many runs at a time.
        on: where they are computed; absent, on this machine.
        shard: only this share of the runs, beside others in the same folder; the study without shards
            then opens what they all computed and writes study.json.
        watcher: takes the events.
        command: for the record.
    """
    grid, on = study.expand(), on or Processes()
    if shard is not None:
        return _run_shard(study, grid, folder, shard, workers=workers, on=on, watcher=watcher or Watcher())
    for experiment in grid.experiments:
        if not store.is_complete(folder / RUNS / experiment.id):
            experiment.compute.must_be_here()
    if _only_readable(folder, grid):
        _claim(folder, study, write=False)
        return _Execution(study, grid, folder, watcher or Watcher(), command, on).only_open()
    make_folder(folder)
    with locked(folder):
        _claim(folder, study)
        return _Execution(study, grid, folder, watcher or Watcher(), command, on).execute(workers)


def _run_shard(
    study: Study, grid: Grid, folder: Path, shard: Shard, *, workers: int, on: Executor, watcher: Watcher
) -> Outcome:
    """One share of the runs into the folder that all shares have in common; study.json is left alone."""
    make_folder(folder)
    _claim(folder, study)
    make_folder(shard.lock(folder))
    with locked(shard.lock(folder)):
        own = _Execution(study, grid, folder, watcher, "", on, only=shard.of(grid.in_order()))
        return own.execute(workers)


def _only_readable(folder: Path, grid: Grid) -> bool:
    """Whether a folder holds every run of the grid, and cannot be written."""
    runs = (folder / RUNS / experiment.id for experiment in grid.experiments)
    return folder.is_dir() and not os.access(folder, os.W_OK) and all(map(store.is_complete, runs))


def _claim(folder: Path, study: Study, *, write: bool = True) -> None:
    path = folder / RECIPE
    if path.exists():
        try:
            found = read_toml(path).get("name")
        except ConfigError as error:
            raise StoreError(str(path), found=error.found, expected="the recipe of a study") from None
        if found != study.name:
            raise _foreign(folder, f"the study {found!r}", f"the study {study.name!r}")
    elif any(not child.name.startswith(".") for child in folder.iterdir()):
        raise _foreign(folder, "files that are no study of everychip", "a study")
    if not write:
        return
    write_text(path, _recipe(study, folder))


def _recipe(study: Study, folder: Path) -> str:
    return write_toml(beside(study.table(), folder))


def _foreign(folder: Path, found: str, expected: str) -> StoreError:
    return StoreError(
        str(folder),
        found=found,
        expected=f"an empty folder or {expected}",
        remedy="choose another folder: --output DIR",
    )


class _Execution:
    def __init__(
        self,
        study: Study,
        grid: Grid,
        folder: Path,
        watcher: Watcher,
        command: str,
        on: Executor,
        *,
        only: Sequence[Experiment] | None = None,
    ) -> None:
        self.study, self.grid, self.folder, self.watcher, self.command = study, grid, folder, watcher, command
        self.on, self.shared, self.asked = on, only is not None, only or grid.in_order()
        self.complete: dict[str, store.Run] = {}
        self.failed: dict[str, str] = {}
        self.trained: dict[str, Path] = {}
        self.started, self.saved = time.monotonic(), 0.0
        self.seconds_before = _seconds_so_far(folder / RECORD)

    def execute(self, workers: int) -> Outcome:
        waiting = self._open(self.asked)
        executed = len(waiting)
        if waiting:
            self.trained = trainings(self.folder / RUNS)
        self.watcher.begin(len(waiting), len(self.complete))
        self._save(counting=executed > 0)
        work = Dispatch(
            on=self.on,
            workers=workers,
            place=self._folder,
            over=self._take,
            begun=self.watcher.started,
            tell=self.watcher.event,
            folder=self.folder,
            trained=self.trained,
        )
        try:
            work.execute(waiting)
        finally:
            if executed:
                self._save()
        return self._outcome(executed)

    def only_open(self) -> Outcome:
        """What there is, where nothing is to be done and nothing can be written."""
        self._open(self.asked)
        self.watcher.begin(0, len(self.complete))
        return self._outcome(0)

    def _outcome(self, executed: int) -> Outcome:
        machines = tuple(self._machines())
        several = machines if len(machines) > 1 else ()
        return Outcome(self.folder, self.grid, executed, self.failed, several)

    def _open(self, experiments: Iterable[Experiment]) -> list[Experiment]:
        """Those of the experiments that still have to be executed; the complete ones are opened."""
        waiting = []
        for experiment in experiments:
            folder = self._folder(experiment)
            if not store.is_complete(folder):
                waiting.append(experiment)
                continue
            try:
                self.complete[experiment.id] = opened(experiment, folder)
            except StoreError as error:
                self.failed[experiment.id] = str(error)
        return waiting

    def _take(self, experiment: Experiment, words: str) -> None:
        if words:
            self.failed[experiment.id] = words
        else:
            self.complete[experiment.id] = opened(experiment, self._folder(experiment))
            self.trained.setdefault(experiment.training_id, self._folder(experiment))
        if time.monotonic() - self.saved > _SAVE_EVERY:
            self._save()
        self.watcher.finished(experiment, self.complete.get(experiment.id), words)

    def _folder(self, experiment: Experiment) -> Path:
        return self.folder / RUNS / experiment.id

    def _save(self, *, counting: bool = True) -> None:
        """Merge the draws of all complete runs and write study.json, so that a report is possible now."""
        self.saved = time.monotonic()
        if self.shared:
            return
        proofs = self._merge()
        elapsed = time.monotonic() - self.started if counting else 0.0
        machines = self._machines()
        write_record(
            self.folder / RECORD,
            {
                "format": FORMAT,
                "name": self.study.name,
                "title": self.study.title,
                "command": self.command,
                "axes": self.grid.axes,
                "environment": environment(self.grid.experiments[0].compute),
                **({"machines": machines} if len(machines) > 1 else {}),
                "seconds": self.seconds_before + elapsed,
                "runs": [self._row(experiment) for experiment in self.grid.experiments],
                "coverage": self._coverage(),
                "left_out": list(self.grid.left_out),
                "merged": list(self.grid.merged),
                "sha256": {RECIPE: text_digest(_recipe(self.study, self.folder)), **proofs},
            },
        )

    def _merge(self) -> dict[str, str]:
        """Write the draws of all complete runs as one file; its SHA-256, by name.

        A run whose draws changed since it was opened is told as failed, and the others are merged again.
        """
        runs = {e.id: self.complete[e.id] for e in self.grid.experiments if e.id in self.complete}
        if not runs:
            return {DRAWS: digest(self.folder / DRAWS)} if (self.folder / DRAWS).exists() else {}
        parts = {key: run.draws_path for key, run in runs.items()}
        proof = merge_tables(self.folder / DRAWS, list(parts.values()), renamed=self._renamed())
        proven = {key: run.record["sha256"][store.DRAWS] for key, run in runs.items()}
        other = [key for key, path in parts.items() if digest(path) != proven[key]]
        for key in other:
            self.failed[key] = str(store.changed(parts[key]))
            del self.complete[key]
        return self._merge() if other else {DRAWS: proof}

    def _renamed(self) -> dict[str, dict[str, str]]:
        """The labels of complete runs that the study calls otherwise now than when they were made."""
        complete = ((e, self.complete.get(e.id)) for e in self.grid.experiments)
        return {
            experiment.id: experiment.said()
            for experiment, run in complete
            if run is not None and dict(run.record.get("labels") or {}) != experiment.labels
        }

    def _machines(self) -> list[str]:
        """The processors that the complete runs were computed on."""
        records = [self.complete[e.id].record for e in self.grid.experiments if e.id in self.complete]
        return distinct(name for record in records for name in _computed_on(record))

    def _coverage(self) -> list[dict[str, Any]]:
        """What the crossbar holds of each network of the study, told once."""
        found: dict[str, dict[str, Any]] = {}
        for experiment in self.grid.experiments:
            run = self.complete.get(experiment.id)
            facts = run and run.record.get("coverage")
            if facts:
                name = str(experiment.described()["model"])
                entry = found.setdefault(content_hash(facts), {"models": [], **facts})
                entry["models"] = sorted({*entry["models"], name})
        return list(found.values())

    def _row(self, experiment: Experiment) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": experiment.id,
            "training_id": experiment.training_id,
            "labels": experiment.labels,
        }
        if experiment.id not in self.complete:
            words = self.failed.get(experiment.id, "")
            return {**row, "status": "failed" if words else "unfinished", "words": words}
        record = self.complete[experiment.id].record
        said = {key: record[key] for key in SAID if record.get(key)}
        return {**row, **{key: record.get(key) for key in KNOWN}, **said}


def _computed_on(record: Mapping[str, Any]) -> list[str]:
    trained = [record[key] for key in ("training_environment",) if record.get(key)]
    return [*(record.get("machines") or []), *map(machine, [record.get("environment") or {}, *trained])]


def _seconds_so_far(record: Path) -> float:
    try:
        return float(read_json(record, form=FORMAT).get("seconds") or 0.0)
    except (StoreError, TypeError, ValueError):  # absent, or damaged: it is written anew from the runs
        return 0.0
