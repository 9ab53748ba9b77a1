"""What the study's recipe asked before its first run, judged: difference, equivalence, both corrected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from everychip.report.blocks import Column, Row, Section, Table
from everychip.report.grouping import OWN_AXES
from everychip.report.results import Group, Panel, Results, kin, paired
from everychip.report.wording import MINUS, points, sigma_text
from everychip.scores import Score
from everychip.statistics.contrasts import Contrast, contrasts
from everychip.statistics.intervals import HEADLINE_SEEDS
from everychip.study.asked import Contrasts

COLUMNS = (
    Column("setting", "context"),
    Column("contrast", "key"),
    Column("seeds"),
    Column("difference [95 %]"),
    Column("p", minor=True),
    Column("p of equivalence", minor=True),
    Column("finding"),
)
Labels = dict[str, str]
Found = dict[str, Contrast]


def section(results: Results, *, target: float | None) -> Section | None:
    """A table for each family; nothing where none was asked, or no pair has its seeds yet."""
    del target
    found = tables(results)
    return Section("contrasts", 28, "What was asked beforehand", found) if found else None


def tables(results: Results) -> tuple[Table, ...]:
    """A table for each family that has something to say."""
    return tuple(table for family in results.contrasts for table in _tables(results, family))


def judged(results: Results, family: Contrasts) -> Iterator[tuple[str, Found]]:
    """The contrasts of a family in every setting in which a pair has three seeds or more."""
    for setting, groups in _settings(results, family.axis).items():
        pairs = {}
        for one, two in family.pairs:
            if one in groups and two in groups:
                pair = paired(groups[one], groups[two])
                if len(pair.first) >= HEADLINE_SEEDS:
                    pairs[f"{one} {MINUS} {two}"] = (pair.first, pair.second)
        if pairs:
            score = next(iter(groups.values())).score
            yield setting, contrasts(pairs, family=len(family.pairs), margin=family.margin, score=score)


def _tables(results: Results, family: Contrasts) -> Iterator[Table]:
    rows = []
    for setting, found in judged(results, family):
        missing = len(family.pairs) - len(found)
        rows += [_row(setting, name, contrast) for name, contrast in found.items()]
        rows += [_missing(setting, missing)] if missing else []
    if rows:
        size = margin_text(results.score, family.margin)
        note = (
            f"Fixed in the recipe; margin {size} either way. p: no difference (t test over training seeds). "
            f"p of equivalence: a difference of {size} or more (two one-sided tests). Both are corrected for "
            "all contrasts asked in a setting (Holm); the intervals are not."
        )
        yield Table("Contrasts fixed before the first run", COLUMNS, tuple(rows), (note,))


def margin_text(score: Score, margin: float) -> str:
    """A margin with what it is counted in.

    >>> from everychip.scores import ACCURACY
    >>> margin_text(ACCURACY, 0.01), margin_text(ACCURACY, 0.02)
    ('1 point', '2 points')
    """
    size = score.scale * margin
    return f"{size:g} {score.step.removesuffix('s') if size == 1 else score.step}"


def _row(setting: str, name: str, found: Contrast) -> Row:
    p, q = (("–" if value is None else f"{value:.2g}") for value in (found.p_difference, found.p_equivalence))
    cells = (setting, name, str(found.seeds), points(found.difference), p, q, found.finding)
    return Row(cells, shows=found.shows)


def _missing(setting: str, number: int) -> Row:
    return Row((setting, f"{number} more asked", "", "", "", "", f"fewer than {HEADLINE_SEEDS} seeds"))


def _settings(results: Results, axis: str) -> dict[str, dict[str, Group]]:
    """The groups at the training σ by setting, and in each by their label on the axis."""
    runs = {run.id: run for run in results.runs}
    found: dict[str, dict[str, Group]] = {}
    for panel in results.panels:
        for group in panel.at_sigma:
            labels = next((dict(kin(runs[name])) for name in group.runs if name in runs), {})
            own = labels.pop(axis, None)
            if own is not None:
                found.setdefault(_setting(labels, panel), {})[own] = group
    return found


def _setting(labels: Mapping[str, str], panel: Panel) -> str:
    """What tells a setting from the others: its labels on the other axes, and σ."""
    others = [
        label if axis in OWN_AXES else f"{axis} {label}"
        for axis, label in labels.items()
        if label and axis != "sigma_train"
    ]
    return ", ".join([*others, f"σ = {sigma_text(panel.sigma)}"])
