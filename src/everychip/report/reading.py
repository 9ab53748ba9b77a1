"""Reading a folder: JSON and TOML by the standard library, draws by duckdb; a damaged folder says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everychip.component import read_toml
from everychip.errors import StoreError
from everychip.report.results import METHOD_ORDER, Context, Group, Results, Run
from everychip.study.files import read_json
from everychip.study.table import COLUMNS

STUDY_FORMAT, RUN_FORMAT = "everychip-study/1", "everychip-run/1"
OWN_AXES = ("method", "variant", "model", "data", "device", "sigma", "sigma_train", "seed")
"""Axes that the draws' own columns tell; the labels of any other axis join the variant."""

GROUPS = """
select method, variant, model, data, device, run, seed, sigma_train, sigma,
       avg(sigma_of_max), avg(sigma_of_rms), avg(nll), avg(ece), avg(confidence),
       min(images), bool_and(whole_test), list(chip order by chip), list(accuracy order by chip)
from read_parquet($files) group by all
order by all
"""


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


def _load_study(folder: Path) -> Results:
    about = read_json(folder / "study.json", form=STUDY_FORMAT)
    axes = {str(axis): tuple(map(str, labels)) for axis, labels in dict(about.get("axes") or {}).items()}
    runs = tuple(_run(entry) for entry in about.get("runs") or ())
    merged = folder / "draws.parquet"
    files = [merged] if merged.is_file() else sorted(folder.glob("runs/*/draws.parquet"))
    if not files:
        raise StoreError(str(folder), found="no draws.parquet", expected="the draws of at least one run")
    return Results(
        path=folder,
        is_study=True,
        name=str(about.get("name") or folder.name),
        title=str(about.get("title") or about.get("name") or folder.name),
        command=str(about.get("command") or ""),
        recipe=_text(folder / "study.toml"),
        axes=axes,
        environment=dict(about.get("environment") or {}),
        seconds=_number(about.get("seconds")),
        runs=runs,
        groups=_groups(files, axes, runs),
        left_out=tuple(_label(item) for item in about.get("left_out") or ()),
    )


def _load_run(folder: Path) -> Results:
    about = read_json(folder / "run.json", form=RUN_FORMAT)
    run = _run(about)
    recipe = folder / "recipe.toml"
    named = read_toml(recipe) if recipe.is_file() else {}
    return Results(
        path=folder,
        is_study=False,
        name=run.id or folder.name,
        title=str(named.get("title") or f"Run {run.id or folder.name}"),
        command="everychip run recipe.toml",
        recipe=_text(recipe),
        axes={},
        environment=dict(about.get("environment") or {}),
        seconds=_number(about.get("seconds")),
        runs=(run,),
        groups=_groups([folder / "draws.parquet"], {}, (run,)),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _run(entry: Mapping[str, Any]) -> Run:
    return Run(
        id=str(entry.get("id") or ""),
        labels={str(axis): str(label) for axis, label in dict(entry.get("labels") or {}).items()},
        status=str(entry.get("status") or "unknown"),
        words=str(entry.get("words") or ""),
        seconds=_number(entry.get("seconds")),
        best_epoch=entry.get("best_epoch"),
        validation_accuracy=_number(entry.get("validation_accuracy")),
        history=tuple(entry.get("history") or ()),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _label(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(str(label) for label in item.values() if label)
    return str(item)


def _groups(
    files: Sequence[Path], axes: Mapping[str, tuple[str, ...]], runs: tuple[Run, ...]
) -> tuple[Group, ...]:
    extra = {run.id: tuple(v for k, v in run.labels.items() if k not in OWN_AXES and v) for run in runs}
    parts: dict[_Key, list[tuple[Any, ...]]] = {}
    for row in _query(files):
        method, variant, model, data, device, run, _, sigma_train, sigma = row[:9]
        variant = " · ".join(part for part in (variant or "", *extra.get(run, ())) if part)
        context = Context(model, data, device, variant)
        key = _Key(method, context, _number(sigma_train), _number(sigma))
        parts.setdefault(key, []).append(row)
    rank = _ranking(axes)
    groups = [_group(files[0], key, rows) for key, rows in parts.items()]
    return tuple(sorted(groups, key=rank))


def _query(files: Sequence[Path]) -> list[tuple[Any, ...]]:
    import duckdb

    where = str(files[0])
    names = {"files": [str(file) for file in files]}
    with duckdb.connect() as connection:
        try:
            described = connection.execute("describe from read_parquet($files)", names).fetchall()
            missing = [column for column in COLUMNS if column not in {row[0] for row in described}]
            if missing:
                raise StoreError(where, found=f"no column {', '.join(missing)}", expected="a file of draws")
            rows = connection.execute(GROUPS, names).fetchall()
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise StoreError(where, found=f"draws that cannot be read ({first})") from None
    if not rows:
        raise StoreError(
            where, found="no chip yet", expected="draws of a complete run", remedy="let a run finish first"
        )
    return rows


@dataclass(frozen=True)
class _Key:
    method: str
    context: Context
    sigma_train: float | None
    sigma: float | None


def _group(where: Path, key: _Key, rows: list[tuple[Any, ...]]) -> Group:
    accuracy: dict[int, dict[int, float]] = {}
    for row in rows:
        run, seed, chips, values = row[5], row[6], row[16], row[17]
        again = accuracy.get(seed)
        if again == dict(zip(chips, values, strict=True)):  # the same run under two labels of the grid
            continue
        if again is not None or len(set(chips)) < len(chips):
            raise StoreError(
                str(where),
                found=f"two sets of chips labelled {key.method}, σ {key.sigma}, seed {seed} (one: {run})",
                expected="labels that tell the runs apart",
            )
        if any(value is None or not 0 <= value <= 1 for value in values):
            raise StoreError(str(where), found=f"an accuracy outside 0 … 1 in run {run}")
        accuracy[seed] = dict(zip(chips, values, strict=True))
    mean = [_mean([row[i] for row in rows]) for i in range(9, 14)]
    return Group(
        method=key.method,
        context=key.context,
        sigma_train=key.sigma_train,
        sigma=key.sigma,
        of_max=mean[0],
        of_rms=mean[1],
        nll=mean[2],
        ece=mean[3],
        confidence=mean[4],
        accuracy=dict(sorted(accuracy.items())),
        images=min(row[14] for row in rows),
        whole_test=all(row[15] for row in rows),
        runs=tuple(row[5] for row in rows),
    )


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _ranking(axes: Mapping[str, tuple[str, ...]]) -> Any:
    """Sort key: the study's own order of labels, then the shipped order of methods, then the alphabet."""

    def place(axis: str, label: str) -> tuple[int, str]:
        known = axes.get(axis) or (METHOD_ORDER if axis == "method" else ())
        return (known.index(label) if label in known else len(known), label)

    def rank(group: Group) -> tuple[Any, ...]:
        context = group.context
        numbers = (-1.0 if x is None else x for x in (group.sigma_train, group.sigma))
        return (
            *(place(axis, getattr(context, axis)) for axis in ("model", "data", "device", "variant")),
            place("method", group.method),
            *numbers,
        )

    return rank
