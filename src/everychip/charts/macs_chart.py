"""Accuracy against the multiplications an answer takes, with what 90 % of the chips do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from everychip.charts.style import GREY, Rows, chart_of, percent, spec_of

if TYPE_CHECKING:
    import altair as alt

    from everychip.statistics.verdict import Verdict

HEIGHT, WIDTH = 320, 420
ALONE, EARLY, COMBINED, OTHER = "one output alone", "early", "combined", "fitted to each chip"
COLOURS = {ALONE: "#0072b2", EARLY: "#d55e00", COMBINED: "#000000", OTHER: "#009e73"}
SHAPES = {ALONE: "circle", EARLY: "diamond", COMBINED: "square", OTHER: "triangle-up"}
CLOSE = 0.12
"""The share of the axis that a name takes."""
SHARES = (0.05, 0.95)
"""The quantiles of chips between which a band is drawn."""


@dataclass(frozen=True)
class Point:
    """One way to answer. label: beside the point. family: what it is a case of. macs: per input.

    mean, low, high: accuracy, 0 … 1, with its interval; chips: the accuracy of each chip.
    """

    label: str
    family: str
    macs: float
    mean: float
    low: float
    high: float
    chips: tuple[float, ...]

    @classmethod
    def of(cls, label: str, answer: str, macs: float, verdict: Verdict, chips: Sequence[float]) -> Point:
        """A point from what was measured; `answer` is the name of the way to answer."""
        mean = verdict.mean
        low = mean.estimate if mean.low is None else mean.low
        high = mean.estimate if mean.high is None else mean.high
        return cls(label, family_of(answer), macs, mean.estimate, low, high, tuple(chips))


def family_of(answer: str) -> str:
    """What a way to answer is a case of.

    >>> [family_of(name) for name in ("exit 2", "last", "early", "combined", "per_chip")]
    ['one output alone', 'one output alone', 'early', 'combined', 'fitted to each chip']
    """
    if answer == "last" or answer.startswith("exit "):
        return ALONE
    return answer if answer in (EARLY, COMBINED) else OTHER


def macs_chart(points: Sequence[Point]) -> dict[str, Any]:
    """The Vega-Lite specification: a point for each way to answer, early ones joined in the order of MACs.

    Args:
        points: of one network and one σ.

    Returns:
        Layers of bands, lines, points and labels, with their data.
    """
    import altair as alt

    unit, prefix = _unit(max(point.macs for point in points))
    rows = [_row(point, unit) for point in sorted(points, key=lambda point: point.macs)]
    widest = 1.08 * max(row["macs"] for row in rows)
    present = [name for name in COLOURS if any(row["family"] == name for row in rows)]
    colour = alt.Color(
        "family:N", title=None, scale=alt.Scale(domain=present, range=[COLOURS[name] for name in present])
    )
    shape = alt.Shape(
        "family:N", title=None, scale=alt.Scale(domain=present, range=[SHAPES[name] for name in present])
    )
    scale = alt.Scale(domain=_domain(rows), nice=False)
    x = alt.X(
        "macs:Q",
        title=f"MACs per input in {prefix}",
        axis=alt.Axis(tickCount=8),
        scale=alt.Scale(domain=[0, widest], nice=False),
    )
    low = alt.Y("worst:Q", title="accuracy in %", scale=scale)
    base = chart_of("points").encode(x=x, color=colour)
    joined = chart_of("early").encode(x=x, color=colour)
    tooltip = ["answer:N", "accuracy:N", "90 % of chips:N", "MACs:N"]
    layers = [
        joined.mark_area(opacity=0.15, clip=True).encode(y=low, y2="best:Q"),
        joined.mark_line(strokeWidth=2, clip=True).encode(y=alt.Y("mean:Q", scale=scale)),
        base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=low, y2="best:Q"),
        base.mark_rule(strokeWidth=5, opacity=0.35).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=alt.Y("mean:Q", scale=scale), shape=shape, tooltip=tooltip
        ),
    ]
    data = {"points": rows, "early": [row for row in rows if row["family"] == EARLY]}
    for level, named in enumerate(_levels([row for row in rows if row["family"] == ALONE], widest)):
        words = chart_of(f"level{level}").mark_text(dy=12 + 13 * level, fontSize=11, color=GREY)
        layers.append(words.encode(x=x, y=low, text="answer:N"))
        data[f"level{level}"] = named
    return spec_of(layers, height=HEIGHT, **data)


def _levels(rows: Rows, widest: float) -> list[Rows]:
    """Names under the bands, one line deeper where the name before stands close by."""
    levels: list[Rows] = []
    for row in rows:
        free = (n for n, level in enumerate(levels) if row["macs"] - level[-1]["macs"] > CLOSE * widest)
        n = next(free, len(levels))
        levels[n:] = [[*levels[n], row], *levels[n + 1 :]] if n < len(levels) else [[row]]
    return levels


def _row(point: Point, unit: float) -> dict[str, Any]:
    worst, best = torch.tensor(point.chips, dtype=torch.float64).quantile(
        torch.tensor(SHARES, dtype=torch.float64)
    )
    return {
        "answer": point.label,
        "family": point.family,
        "macs": round(point.macs / unit, 4),
        "mean": percent(point.mean),
        "low": percent(max(0.0, point.low)),
        "high": percent(min(1.0, point.high)),
        "worst": percent(float(worst)),
        "best": percent(float(best)),
        "accuracy": f"{100 * point.mean:.1f} %",
        "90 % of chips": f"{100 * float(worst):.1f} … {100 * float(best):.1f} %",
        "MACs": f"{point.macs:,.0f}",
    }


def _domain(rows: Sequence[dict[str, Any]]) -> list[float]:
    """From a five below the lowest mark, with room for a name, to the next five above the highest."""
    lowest = min(min(row["worst"], row["low"]) for row in rows)
    highest = max(max(row["best"], row["high"]) for row in rows)
    return [max(0.0, 5.0 * math.floor((lowest - 4) / 5)), min(100.0, 5.0 * math.ceil(highest / 5))]


def _unit(largest: float) -> tuple[float, str]:
    """A power of a thousand that suits, and its word."""
    powers = ((1e9, "thousand millions"), (1e6, "millions"), (1e3, "thousands"))
    return next((pair for pair in powers if largest >= pair[0]), (1.0, "units"))


SOLID = {"legend": {"symbolOpacity": 1}, "view": {"stroke": None}}


def altair_chart(points: Sequence[Point]) -> alt.LayerChart:
    """The same chart for a notebook, which has no page around it."""
    import altair as alt

    spec = macs_chart(points)
    chart: alt.LayerChart = alt.LayerChart.from_dict({**spec, "width": WIDTH, "config": SOLID})
    return chart
