"""Convergence over seeds: how many trainings of a method end above chance on chips, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable

from everychip.intervals import Interval
from everychip.report.blocks import Column, Row, Table
from everychip.report.results import CONTEXT, Group, Results, Run
from everychip.report.wording import listing, sigma_text, time_text
from everychip.tails import convergence

TIMES, OF_TWO = 2.0, 1.2
"""The bar over chance, and the one for two classes, where twice chance is perfect."""
NOTE = (
    "A training converges if its mean accuracy on its chips is above twice chance; without a single chip it "
    "does not. Clopper–Pearson intervals over seeds."
)
NOTE_TWO = NOTE.replace("twice chance", "1.2 times chance (two classes)")


def converged(results: Results, group: Group) -> Interval | None:
    """The share of a group's trainings that converge; `None` where their number of classes is not recorded.

    Trainings that diverged or failed before a chip was measured count as not converged.
    """
    runs = _ended(results, group)
    classes = {run.classes for run in runs if run.classes}
    if len(classes) != 1 or classes == {1}:
        return None
    final = {seed: sum(values) / len(values) for seed, values in group.by_seed.items()}
    lost = {-1 - index: 0.0 for index in range(len(runs) - len(final))}
    number = classes.pop()
    return convergence({**final, **lost}, chance=1 / number, times=OF_TWO if number == 2 else TIMES)


def counted(results: Results, group: Group) -> str:
    """How many of how many, as in "2 of 3"; nothing where it is not known."""
    found = converged(results, group)
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
        Column("converged", "key"),
        Column("probability [95 %]"),
        Column("methods", "remark"),
    )
    rows = []
    for panel in results.panels:
        outcomes: dict[tuple[str, str], list[Group]] = {}
        for group in panel.at_sigma:
            found = converged(results, group)
            if found is not None and len(results.runs_of(group)) > 1:
                words = f"{found.estimate:.2f} {found.bounds(scale=1, digits=2)}"
                outcomes.setdefault((counted(results, group), words), []).append(group)
        for outcome, groups in sorted(outcomes.items(), reverse=True):
            head = (*groups[0].context.words, sigma_text(groups[0].sigma), time_text(groups[0].time))
            rows.append(Row((*head, *outcome, listing(_methods(groups)))))
    if not rows:
        return None
    two = any(run.classes == 2 for run in results.runs)
    notes = (NOTE_TWO if two else NOTE,)
    return Table("Probability that a training converges", columns, tuple(rows), notes).without_constants()


def _ended(results: Results, group: Group) -> list[Run]:
    return [run for run in results.runs_of(group) if run.status != "unfinished"]


def _methods(groups: Iterable[Group]) -> list[str]:
    return [group.method for group in groups]
