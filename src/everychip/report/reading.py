"""Reading a run or study folder, finished or not; a damaged or foreign one says so in a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from everychip.config.component import read_toml
from everychip.errors import StoreError, shown
from everychip.hardware.coverage import Coverage
from everychip.report.grouping import groups_of
from everychip.report.results import Results, Run
from everychip.report.weak_layers import read_answer
from everychip.scores import Score
from everychip.statistics.outcome import read_status
from everychip.storage.files import read_json
from everychip.study.proof import draws_of

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


class _Score(BaseModel):
    """What a run measured of every chip, as `Score.facts` writes it."""

    name: str
    higher_is_better: bool
    within: tuple[float | None, float | None] | None
    unit: str


class _RunRecord(BaseModel):
    """What `report` reads of a run: an entry of study.json, or run.json itself."""

    id: str = Field(default="", pattern=r"^(\w[\w.-]*)?$")  # it names a folder
    labels: dict[str, str] = {}
    status: str = "unknown"
    words: str = ""
    seconds: float | None = None
    best_epoch: int | None = None
    validation_accuracy: float | None = None
    history: list[dict[str, Any]] = []
    training_id: str = ""
    classes: int | None = Field(default=None, ge=1)
    environment: dict[str, Any] = {}
    coverage: dict[str, Any] | None = None
    treatment: list[dict[str, Any]] = []
    machines: tuple[str, ...] = ()
    score: _Score | None = None

    def run(self) -> Run:
        return Run(
            id=self.id,
            labels=self.labels,
            status=read_status(self.status),
            words=self.words,
            seconds=self.seconds,
            best_epoch=self.best_epoch,
            validation_accuracy=self.validation_accuracy,
            history=tuple(self.history),
            training_id=self.training_id,
            treatment=tuple(self.treatment),
            classes=self.classes,
            score=Score.of(None if self.score is None else self.score.model_dump()),
        )


class _StudyRecord(BaseModel):
    """What `report` reads of study.json."""

    name: str = ""
    title: str = ""
    command: str = ""
    axes: dict[str, tuple[str, ...]] = {}
    environment: dict[str, Any] = {}
    seconds: float | None = None
    runs: list[_RunRecord] = []
    left_out: list[dict[str, str]] = []
    machines: tuple[str, ...] = ()
    coverage: list[dict[str, Any]] = []


_Record = TypeVar("_Record", bound=BaseModel)


def _record(path: Path, form: str, kind: type[_Record]) -> _Record:
    data = read_json(path, form=form)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            str(path), found=f"{place} = {shown(first['input'])}", expected=f"a record of the format {form}"
        ) from None


def _load_study(folder: Path) -> Results:
    about = _record(folder / "study.json", STUDY_FORMAT, _StudyRecord)
    runs = tuple(entry.run() for entry in about.runs)
    files = draws_of(folder)
    recipe = folder / "study.toml"
    return Results(
        path=folder,
        is_study=True,
        name=about.name or folder.name,
        title=about.title or about.name or folder.name,
        command=about.command,
        recipe=_text(recipe),
        machines=about.machines,
        target=_target(read_toml(recipe), "base", "always") if recipe.is_file() else None,
        axes=about.axes,
        environment=about.environment,
        seconds=about.seconds,
        runs=runs,
        groups=groups_of(files, about.axes, runs),
        left_out=tuple(", ".join(label for label in labels.values() if label) for labels in about.left_out),
        coverage=_coverage(folder / "study.json", about.coverage),
        weak_layers=tuple(
            answer for run in runs for answer in read_answer(folder / "runs" / run.id, run.name) if run.id
        ),
    )


def _load_run(folder: Path) -> Results:
    draws = draws_of(folder)
    about = _record(folder / "run.json", RUN_FORMAT, _RunRecord)
    run, recipe = about.run(), folder / "recipe.toml"
    table = read_toml(recipe)
    title = table.get("title")
    return Results(
        path=folder,
        is_study=False,
        name=run.id or folder.name,
        title=str(title or f"Run {run.id or folder.name}"),
        command="everychip run recipe.toml",
        recipe=_text(recipe),
        axes={},
        environment=about.environment,
        seconds=about.seconds,
        runs=(run,),
        groups=groups_of(draws, {}, (run,)),
        machines=about.machines,
        target=_target({"run": table}, "run"),
        coverage=_coverage(folder / "run.json", [about.coverage] if about.coverage else []),
        weak_layers=read_answer(folder),
    )


def _target(table: Mapping[str, Any], *parts: str) -> float | None:
    """The `evaluation.target` of a recipe, the last of its parts that has one."""
    found = None
    for part in parts:
        recipe = table.get(part)
        evaluation = recipe.get("evaluation") if isinstance(recipe, Mapping) else None
        asked = evaluation.get("target") if isinstance(evaluation, Mapping) else None
        found = asked if isinstance(asked, int | float) else found
    return found


def _coverage(path: Path, found: list[dict[str, Any]]) -> tuple[Coverage, ...]:
    try:
        return tuple(Coverage.of(facts) for facts in found)
    except (KeyError, TypeError) as error:
        raise StoreError(
            str(path), found=f"a coverage without {error}", expected="what `check` tells"
        ) from None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
