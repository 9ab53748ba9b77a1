"""Networks whose exits stay: accuracy against what an answer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from everychip.charts.macs_chart import EARLY, Point, family_of, macs_chart
from everychip.hardware.coverage import short
from everychip.report.blocks import Block, Column, Figure, Row, Section, Table
from everychip.report.blocks import Panel as Chart
from everychip.report.results import Group, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma, bounds_of, mean_of, percent, quantity
from everychip.study.records import Answered

POLICY = "policy"
"""The axis of a study that says how its networks answer."""
CAPTION = (
    "Mean accuracy with its 95 % interval (thick) and what 90 % of the chips do (thin, or the shaded band), "
    "against the multiply-accumulates that an input takes until it is answered."
)
NOTE = (
    "MACs and layers include what is digital; energy (good to about a factor of ten) and time are estimates "
    "of what stands on the crossbar, one layer after the other. An input that leaves early has run every "
    "head on its way."
)
COLUMNS = (
    Column("network", "context"),
    Column("answer", "key"),
    Column("mean ± CI"),
    Column("KPP5"),
    Column("worst", minor=True),
    Column("MACs"),
    Column("of all", below="in %"),
    Column("layers", minor=True),
    Column("energy"),
    Column("time", minor=True),
)


@dataclass(frozen=True, eq=False)
class Way:
    """A group of chips and what its answers take."""

    network: str
    label: str
    group: Group
    answered: Answered


def section(results: Results, *, target: float | None) -> Section | None:
    """Every way to answer beside the others of its network; nothing where no exits stay."""
    del target
    found = rows_of(results)
    if not found:
        return None
    drawn = figure(found)
    blocks: list[Block] = [*([drawn] if drawn else []), table(found)]
    return Section("exits", 45, "What an answer takes", tuple(blocks))


def rows_of(results: Results) -> tuple[Way, ...]:
    """The groups at the training σ whose runs say what their answers take, cheapest first."""
    runs = {run.id: run for run in results.runs}
    found = []
    for panel in results.panels:
        for group in panel.at_sigma:
            behind = [runs[name] for name in group.runs if name in runs]
            taken = [one for run in behind for one in run.answers if one.sigma == group.sigma]
            if taken:
                answered = _mean(taken)
                label = behind[0].labels.get(POLICY) or answered.name
                others = {k: v for k, v in behind[0].labels.items() if k not in (POLICY, "seed") and v}
                words = [group.context.model] if "model" not in others else []
                network = ", ".join([*words, *others.values(), at_sigma(group.sigma, [group])])
                found.append(Way(network, label, group, answered))
    networks = list(dict.fromkeys(way.network for way in found))
    return tuple(sorted(found, key=lambda way: (networks.index(way.network), way.answered.macs)))


def figure(found: Sequence[Way]) -> Figure | None:
    """A panel for each network that was made to answer in two ways or more."""
    panels = []
    for network in dict.fromkeys(row.network for row in found):
        mine = [row for row in found if row.network == network]
        if len(mine) > 1:
            panels.append(Chart(network, macs_chart([_point(row) for row in mine])))
    if not panels:
        return None
    return Figure("accuracy-macs", "Accuracy against multiplications", tuple(panels), (), CAPTION)


def table(found: Sequence[Way]) -> Table:
    """The same in numbers."""
    rows = tuple(Row(_cells(row)) for row in found)
    return Table("What one input takes, by the way its network answers", COLUMNS, rows, (NOTE,))


def _cells(row: Way) -> tuple[str, ...]:
    verdict, taken = verdict_of(row.group), row.answered
    return (
        row.network,
        row.label,
        mean_of(verdict.mean),
        "–" if verdict.kpp is None else bounds_of(verdict.kpp),
        "–" if verdict.worst is None else percent(verdict.worst),
        short(round(taken.macs)),
        percent(taken.of_combined),
        f"{taken.layers:.1f}",
        quantity(taken.energy_j, "J"),
        quantity(taken.latency_s, "s"),
    )


def _point(row: Way) -> Point:
    chips = [value for values in row.group.by_seed.values() for value in values]
    return Point.of(row.label, row.answered.name, row.answered.macs, verdict_of(row.group), chips)


def _mean(taken: Sequence[Answered]) -> Answered:
    """Over training seeds, whose early inputs leave in other shares."""
    if family_of(taken[0].name) != EARLY:
        return taken[0]
    names = ("macs", "layers", "energy_j", "latency_s", "of_combined")
    means = {name: fmean(getattr(one, name) for one in taken) for name in names}
    return taken[0].model_copy(update=means)
