"""Draw the leaderboards and the answer on feedback: docs/results/plots/{leaderboards,feedback}.svg.

    python tools/docs/leaderboard_plots.py

Points are means over seeds, lines their 95 % intervals, both from the committed draws, as in the tables.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the scripts stand beside this one, whoever runs it

from leaderboards import QUESTIONS, Accuracies, Cell, cells, mean, rows
from plot_files import mark_of, side_by_side, write_plot

from everychip.charts.style import GREY, Rows, chart_of, percent, spec_of
from everychip.statistics.intervals import Interval, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds

PLOTS = Path(__file__).parents[2] / "docs" / "results" / "plots"
COLOURS = {"resilient": "#d55e00", "vanilla": "#7f7f7f", "noise_injection (published)": "#7f7f7f"}
CALM = "#0072b2"
ROW = 15
"""The height of a row in pixels."""


@dataclass(frozen=True)
class Panel:
    """One chart: a title, what its axis shows and how far it goes, and an interval for each row."""

    title: str
    axis: str
    domain: tuple[float, float]
    found: dict[str, Interval]
    names: bool = True

    def points(self) -> Rows:
        """One row for each interval, in the order in which they are drawn, cut where the axis ends."""
        return [
            {
                "name": name,
                "x": percent(one.estimate),
                "low": max(self.domain[0], percent(one.estimate if one.low is None else one.low)),
                "high": min(self.domain[1], percent(one.estimate if one.high is None else one.high)),
                "colour": COLOURS.get(name, CALM),
            }
            for name, one in self.found.items()
        ]

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification."""
        import altair as alt

        x = alt.X("x:Q", title=self.axis, scale=alt.Scale(domain=self.domain, nice=False, zero=False))
        labels = alt.Axis(title=None, grid=True, labels=self.names, ticks=False, labelLimit=300)
        y = alt.Y("name:N", sort=None, axis=labels)
        base = chart_of("points").encode(y=y, color=alt.Color("colour:N", scale=None))
        layers = [
            base.mark_rule(strokeWidth=1.6, clip=True).encode(x=alt.X("low:Q", title=self.axis), x2="high:Q"),
            base.mark_point(filled=True, size=42, opacity=1, clip=True).encode(x=x),
        ]
        zero = [{"x": 0}]
        if self.domain[0] < 0:
            line = chart_of("zero").mark_rule(strokeDash=[2, 2], color=GREY)
            layers.append(line.encode(x=alt.X("x:Q", title=self.axis)))
        spec = spec_of(layers, height=ROW * len(self.found), points=self.points(), zero=zero)
        spec.pop("$schema", None)
        return {**spec, "width": 235, "title": self.title}


def of_methods(cell: Cell, order: Sequence[str], *, names: bool) -> Panel:
    """The mean of every method in a cell."""
    found = rows(cell.study, cell.device, cell.sigma)
    shown = {row: seeds_interval(found[row]) for row in order if row in found}
    best = max(one.estimate if one.high is None else one.high for one in shown.values())
    end = min(100.0, 20.0 * math.ceil(5 * best))
    return Panel(cell.title, "accuracy in %", (0.0, end), shown, names=names)


def of_question(words: str, one: str, other: str, *, names: bool) -> Panel:
    """What one part of negative feedback training gains, in every cell that has it and its control."""
    gains: dict[str, Interval] = {}
    for cell in cells():
        found = rows(cell.study, cell.device, cell.sigma)
        if one in found and other in found:
            gains[cell.title] = compare_seeds(found[one], found[other]).difference
    return Panel(f"{words}: {one} − {other}", "points", (-40.0, 40.0), gains, names=names)


def plots() -> dict[str, tuple[tuple[Panel, ...], int]]:
    """The panels of every plot and how many stand beside each other, by its name."""
    shown = [cell for cell in cells() if cell.device == "RRAM1"]
    first: dict[str, Accuracies] = rows(shown[0].study, shown[0].device, shown[0].sigma)
    order = sorted(first, key=lambda row: mean(first[row]), reverse=True)
    boards = [of_methods(cell, order, names=place % 3 == 0) for place, cell in enumerate(shown)]
    questions = [of_question(words, *pair, names=True) for words, pair in QUESTIONS.items()]
    return {"leaderboards": (tuple(boards), 3), "feedback": (tuple(questions), 2)}


def mark(panels: Sequence[Panel]) -> str:
    """What a plot shows, so that a test sees whether it is the latest."""
    told = [[panel.title, *panel.points()] for panel in panels]
    return mark_of("rows", told)


def main() -> int:
    """Write every plot."""
    for name, (panels, columns) in plots().items():
        write_plot(
            PLOTS / f"{name}.svg",
            side_by_side([panel.spec() for panel in panels], columns=columns),
            mark(panels),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
