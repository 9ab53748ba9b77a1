"""Trainings above chance: how many of a method's end above chance on chips, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable

from everychip.report.blocks import Column, Row, Table
from everychip.report.results import CONTEXT, Group, Results, Run
from everychip.report.wording import listing, sigma_text, time_text
from everychip.scores import ACCURACY
from everychip.statistics.intervals import Interval
from everychip.statistics.percentiles import above_chance

NOTE = (
    "A training is above chance if its mean accuracy on its chips is above twice chance{few}; "
    "without a single chip it is not. Clopper–Pearson intervals over seeds."
)
FEW = ", with fewer than ten classes above chance and ten points"


def of_group(results: Results, group: Group) -> Interval | None:
    """The share of a group's trainings above chance; `None` where their number of classes is not recorded.

    Trainings that diverged or failed before a chip was measured count as not above it.
    """
    runs = _ended(results, group)
    classes = {run.classes for run in runs if run.classes}
    if len(classes) != 1 or classes == {1} or group.score != ACCURACY:
        return None
    final = {seed: sum(values) / len(values) for seed, values in group.by_seed.items()}
    lost = {-1 - index: 0.0 for index in range(len(runs) - len(final))}
    return above_chance({**final, **lost}, classes=classes.pop())


def counted(results: Results, group: Group) -> str:
    """How many of how many, as in "2 of 3"; nothing where it is not known."""
    found = of_group(results, group)
    if found is None:
        return ""
    of = max(len(_ended(results, group)), group.seeds)
    return f"{round(found.estimate * of)} of {of}"


def probabilities(results: Results) -> Table | None:
    """Methods of equal outcome share a row; only where a method was trained from more than one seed."""
    columns = (
        *(Column(name, "context") for name in CONTEXT),
        Column("σ", "context"),
        Column("time", "context"),
        Column("above chance", "key"),
        Column("probability [95 %]"),
        Column("methods", "remark"),
    )
    rows = []
    for panel in results.panels:
        outcomes: dict[tuple[float, str, str], list[Group]] = {}
        for group in panel.at_sigma:
            found = of_group(results, group)
            if found is not None and len(results.runs_of(group)) > 1:
                words = f"{found.estimate:.2f} {found.bounds(scale=1, digits=2)}"
                outcomes.setdefault((found.estimate, counted(results, group), words), []).append(group)
        for (_, *outcome), groups in sorted(outcomes.items(), reverse=True):
            head = (*groups[0].context.words, sigma_text(groups[0].sigma), time_text(groups[0].time))
            rows.append(Row((*head, *outcome, listing(_methods(groups)))))
    if not rows:
        return None
    few = any((run.classes or 10) < 10 for run in results.runs)
    notes = (NOTE.format(few=FEW if few else ""),)
    return Table(
        "Probability that a training ends above chance", columns, tuple(rows), notes
    ).without_constants()


def _ended(results: Results, group: Group) -> list[Run]:
    return [run for run in results.runs_of(group) if run.status != "unfinished"]


def _methods(groups: Iterable[Group]) -> list[str]:
    return [group.method for group in groups]
