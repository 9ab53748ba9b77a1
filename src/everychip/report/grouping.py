"""Draws to groups: rows of parquet, read by duckdb, gathered by what they have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from everychip.errors import StoreError
from everychip.report.method_kinds import kind_of, place_of
from everychip.report.results import Context, Group, Run
from everychip.scores import ACCURACY, Score
from everychip.storage.table import COLUMNS, SCAN, connect, literal

OWN_AXES = ("method", "variant", "model", "data", "device", "sigma", "sigma_train", "seed")
"""Axes that the draws' own columns tell; the labels of any other axis join the variant."""

LATER = {"per_chip": "false", "time": "null::double", "score": "accuracy"}
"""Columns that older draws lack, and what they would say: programmed chips as they are, at no other time.

score: what is judged, where that is not the accuracy."""

GROUPS = """
select method, variant, model, data, device, {per_chip}, run, seed,
       sigma_train::double, sigma::double, {time},
       avg(sigma_of_max), avg(sigma_of_rms), avg(nll), avg(ece), avg(confidence),
       min(images), bool_and(whole_test), list(chip order by chip), list({score}::double order by chip)
from {scan} group by all
order by all
"""


class _Part(NamedTuple):
    """The chips of one run at one σ: a row of the query above."""

    method: str
    variant: str | None
    model: str
    data: str
    device: str
    per_chip: bool
    run: str
    seed: int
    sigma_train: float | None
    sigma: float | None
    time: float | None
    of_max: float | None
    of_rms: float | None
    nll: float | None
    ece: float | None
    confidence: float | None
    images: int
    whole_test: bool
    chips: list[int]
    scores: list[float | None]


class _Key(NamedTuple):
    """What the parts of a group have in common."""

    method: str
    context: Context
    sigma_train: float | None
    sigma: float | None
    time: float | None


def groups_of(
    files: Sequence[Path],
    axes: Mapping[str, tuple[str, ...]],
    runs: tuple[Run, ...],
    *,
    kinds: Mapping[str, str],
) -> tuple[Group, ...]:
    """The groups that files of draws hold, in the order of the study's axes; `kinds` as in `kinds_of`."""
    extra = {run.id: tuple(v for k, v in run.labels.items() if k not in OWN_AXES and v) for run in runs}
    gathered: dict[_Key, list[_Part]] = {}
    for part in _query(files):
        variant = " · ".join(word for word in (part.variant or "", *extra.get(part.run, ())) if word)
        context = Context(part.model, part.data, part.device, variant, per_chip=part.per_chip)
        key = _Key(part.method, context, _finite(part.sigma_train), _finite(part.sigma), part.time)
        gathered.setdefault(key, []).append(part)
    score = _score_of(files[0], runs)
    groups = [
        _group(files[0], key, parts, score, kind=kinds.get(key.method) or kind_of(key.method))
        for key, parts in gathered.items()
    ]
    return tuple(sorted(groups, key=_ranking(axes)))


def _query(files: Sequence[Path]) -> list[_Part]:
    import duckdb

    where = str(files[0])
    names = {"files": literal(files)}
    with connect() as connection:
        try:
            whole = f"describe from {SCAN}"
            found = {row[0] for row in connection.execute(whole, names).fetchall()}
            missing = [column for column in COLUMNS if column not in {*found, *LATER}]
            if missing:
                raise StoreError(where, found=f"no column {', '.join(missing)}", expected="a file of draws")
            later = {
                name: f"coalesce({name}, {absent})" if name in found else absent
                for name, absent in LATER.items()
            }
            rows = connection.execute(GROUPS.format(scan=SCAN, **later), names).fetchall()
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise StoreError(where, found=f"draws that cannot be read ({first})") from None
    if not rows:
        raise StoreError(
            where, found="no chip yet", expected="draws of a complete run", remedy="let a run finish first"
        )
    return [_Part(*row) for row in rows]


def _group(where: Path, key: _Key, parts: list[_Part], score: Score, *, kind: str) -> Group:
    accuracy: dict[int, dict[int, float]] = {}
    for part in parts:
        chips = _chips(where, part, score)
        if accuracy.get(part.seed) == chips:  # the same run under two labels of the grid
            continue
        if part.seed in accuracy or len(chips) < len(part.chips):
            raise StoreError(
                str(where),
                found=f"two sets of chips for {key.method}, σ {key.sigma}, seed {part.seed}",
                expected=f"labels that tell run {part.run} from the other",
            )
        accuracy[part.seed] = chips
    return Group(
        method=key.method,
        kind=kind,
        context=key.context,
        sigma_train=key.sigma_train,
        sigma=key.sigma,
        time=key.time,
        of_max=_mean([part.of_max for part in parts]),
        of_rms=_mean([part.of_rms for part in parts]),
        nll=_mean([part.nll for part in parts]),
        ece=_mean([part.ece for part in parts]),
        confidence=_mean([part.confidence for part in parts]),
        accuracy=dict(sorted(accuracy.items())),
        images=min(part.images for part in parts),
        whole_test=all(part.whole_test for part in parts),
        runs=tuple(part.run for part in parts),
        score=score,
    )


def _score_of(where: Path, runs: tuple[Run, ...]) -> Score:
    """What the runs of one report measured; other numbers stand in no table beside them."""
    scores = list(dict.fromkeys(run.score for run in runs if run.status != "unfinished")) or [ACCURACY]
    if len(scores) > 1:
        raise StoreError(
            str(where),
            found=f"runs of {' and '.join(score.name for score in scores)}",
            expected="runs of one task and one score",
            remedy="a study for each",
        )
    return scores[0]


def _chips(where: Path, part: _Part, score: Score) -> dict[int, float]:
    chips = {}
    low, high = score.within or (-math.inf, math.inf)
    for chip, value in zip(part.chips, part.scores, strict=True):
        if value is None or not math.isfinite(value) or not low <= value <= high:
            found = "an accuracy" if score == ACCURACY else f"{score.name} that is"
            raise StoreError(str(where), found=f"{found} outside {low:g} … {high:g} in run {part.run}")
        chips[chip] = value
    return chips


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _ranking(axes: Mapping[str, tuple[str, ...]]) -> Callable[[Group], tuple[Any, ...]]:
    """Sort key: the study's own order of labels, then that of the kinds of methods, then the alphabet."""

    def place(axis: str, label: str, *own: Any) -> tuple[Any, ...]:
        known = axes.get(axis, ())
        return (known.index(label) if label in known else len(known), *own, label)

    def rank(group: Group) -> tuple[Any, ...]:
        context = group.context
        numbers = (-1.0 if x is None else x for x in (group.sigma_train, group.sigma, group.time))
        return (
            context.per_chip,
            *(place(axis, getattr(context, axis)) for axis in ("model", "data", "device", "variant")),
            place("method", group.method, *place_of(group.kind)),
            *numbers,
        )

    return rank


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
