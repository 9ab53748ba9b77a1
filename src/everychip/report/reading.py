"""Reading a run or study folder, finished or not; a damaged or foreign one says so in a line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everychip.config.toml import read_toml
from everychip.errors import StoreError
from everychip.report.grouping import groups_of
from everychip.report.method_kinds import kinds_of
from everychip.report.results import Results, Run
from everychip.report.weak_layers import read_answer
from everychip.scores import Score
from everychip.storage.files import read_json
from everychip.study.asked import Contrasts
from everychip.study.proof import draws_of
from everychip.study.records import RunEntry, RunRecord, StudyRecord

STUDY_FORMAT, RUN_FORMAT = "everychip-study/1", "everychip-run/1"


def load(path: str | Path) -> Results:
    """Read a run folder or a study folder, finished or not, into one frozen value.

    >>> load("no/such/folder")
    Traceback (most recent call last):
    everychip.errors.StoreError: no/such/folder: found no folder; expected a run or a study folder
    """
    folder = Path(path)
    if not folder.is_dir():
        raise StoreError(str(path), found="no folder", expected="a run or a study folder")
    if (folder / "study.json").is_file():
        return _load_study(folder)
    if (folder / "run.json").is_file():
        return _load_run(folder)
    raise StoreError(
        str(path),
        found="neither study.json nor run.json",
        expected="the folder of a run or of a study",
        remedy="a study that was interrupted goes on with the same `everychip study` command",
    )


def _run(entry: RunEntry, history: tuple[Mapping[str, Any], ...] = ()) -> Run:
    return Run(
        id=entry.id,
        labels=entry.labels,
        status=entry.status,
        words=entry.words,
        seconds=entry.seconds,
        best_epoch=entry.best_epoch,
        validation_accuracy=entry.validation_accuracy,
        digital=entry.digital,
        trained=entry.forwards != 0,
        trained_time=entry.trained_time,
        history=history,
        training_id=entry.training_id,
        treatment=entry.treatment,
        answers=entry.answers,
        classes=entry.classes,
        score=Score.of(None if entry.score is None else entry.score.model_dump()),
    )


def _load_study(folder: Path) -> Results:
    place = folder / "study.json"
    about = StudyRecord.read(read_json(place, form=STUDY_FORMAT), path=place)
    runs = tuple(map(_run, about.runs))
    files = draws_of(folder)
    recipe = folder / "study.toml"
    table = read_toml(recipe) if recipe.is_file() else {}
    return Results(
        path=folder,
        is_study=True,
        name=about.name or folder.name,
        title=about.title or about.name or folder.name,
        command=about.command,
        recipe=_text(recipe),
        machines=about.machines,
        target=_target(table, "base", "always"),
        axes=about.axes,
        environment=about.environment,
        seconds=about.seconds,
        runs=runs,
        groups=groups_of(files, about.axes, runs, kinds=kinds_of(table)),
        left_out=tuple(", ".join(label for label in labels.values() if label) for labels in about.left_out),
        coverage=about.coverage,
        contrasts=_contrasts(table),
        weak_layers=tuple(
            answer for run in runs for answer in read_answer(folder / "runs" / run.id, run.name) if run.id
        ),
    )


def _load_run(folder: Path) -> Results:
    draws = draws_of(folder)
    place = folder / "run.json"
    about = RunRecord.read(read_json(place, form=RUN_FORMAT), path=place)
    run, recipe = _run(about, about.history), folder / "recipe.toml"
    table = read_toml(recipe)
    title, kinds = table.get("title"), _own_kind(run, table)
    return Results(
        path=folder,
        is_study=False,
        name=run.id or folder.name,
        title=str(title or f"Run {run.id or folder.name}"),
        command=about.command,
        repeat=_repeat(run, recipe),
        recipe=_text(recipe),
        axes={},
        environment=about.environment,
        seconds=about.seconds,
        runs=(run,),
        groups=groups_of(draws, {}, (run,), kinds=kinds),
        machines=about.machines,
        target=_target({"run": table}, "run"),
        coverage=(about.coverage,) if about.coverage else (),
        weak_layers=read_answer(folder),
    )


def _own_kind(run: Run, recipe: Mapping[str, Any]) -> dict[str, str]:
    """The kind of a run's method by its label, where it has one."""
    label = run.labels.get("method")
    return {} if label is None else kinds_of({"base": recipe, "axes": {"method": {label: {}}}})


def _repeat(run: Run, recipe: Path) -> str:
    """What computes a run anew: its recipe, or of a network as it is the weights that lie beside it."""
    if not recipe.is_file():
        return ""
    what = f"run {shlex.quote(str(recipe))}" if run.trained else f"evaluate {shlex.quote(str(recipe.parent))}"
    return f"everychip {what} --output FOLDER"


def _target(table: Mapping[str, Any], *parts: str) -> float | None:
    """The `evaluation.target` of a recipe, the last of its parts that has one."""
    found = None
    for part in parts:
        recipe = table.get(part)
        evaluation = recipe.get("evaluation") if isinstance(recipe, Mapping) else None
        asked = evaluation.get("target") if isinstance(evaluation, Mapping) else None
        found = asked if isinstance(asked, int | float) else found
    return found


def _contrasts(recipe: Mapping[str, Any]) -> tuple[Contrasts, ...]:
    """What the recipe of a study asks beforehand."""
    families = recipe.get("contrasts", [])
    return tuple(Contrasts.read(family, where="study.toml.contrasts") for family in families)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
