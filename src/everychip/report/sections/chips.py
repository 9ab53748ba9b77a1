"""Chip to chip: every single chip at the training σ, not only their mean."""

from __future__ import annotations

import math
from typing import Any

from everychip.charts.style import GREY, SHOWN, Rows, chart_of, percent, spec_of
from everychip.report.blocks import Figure, Section
from everychip.report.blocks import Panel as Chart
from everychip.report.plots import colour, title_of
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma
from everychip.report.yields import yields
from everychip.scores import Score

TARGET = "target"
"""The rows that hold the target, which the page's slider moves."""
"""A chart draws at most so many chips of a method, taken evenly from the sorted ones."""
CAPTION = (
    f"Each tick is one chip (at most {SHOWN} are drawn), and every method meets the same chips. "
    "The disc is the mean; the triangle is KPP5, which 95 % of chips do better than; the line is the target."
)


def section(results: Results, *, target: float | None) -> Section:
    """How different the chips are from one another."""
    reached = yields(results, target=target)
    line = None if reached is None else reached.targets[reached.chosen]
    panels = [
        Chart(title_of(results, p, f"at {at_sigma(p.sigma, p.at_sigma)}"), _chart(results, p, line))
        for p in results.panels
    ]
    caption = CAPTION
    if any(not group.whole_test for group in results.groups):
        caption += " Where chips met only part of the test set, the choice of images spreads them, too."
    drawn = Figure("chips", "Chip to chip", tuple(panels), results.methods, caption)
    return Section("chips", 40, "Chip to chip", (*([reached] if reached else []), drawn))


def _chart(results: Results, panel: Panel, target: float | None) -> dict[str, Any]:
    import altair as alt

    y = alt.Y("method:N", title=None, sort=list(results.methods))
    chips = [row for group in panel.at_sigma for row in _chips(group)]
    scale = _scale(chips, results.score)
    ticks_apart = alt.Axis(tickCount=8, labelOverlap=True)
    x = alt.X("accuracy:Q", title=_axis(results.score), scale=scale, axis=ticks_apart)
    named = alt.Tooltip("accuracy:Q", title=results.score.name)
    paint = colour(results.method_kinds, legend=False)
    means = [_mean(group) for group in panel.at_sigma]
    ticks = chart_of("chips").mark_tick(thickness=1, size=16, opacity=0.35)
    low = chart_of("means").mark_point(shape="triangle-up", filled=True, size=55, opacity=1, yOffset=12)
    disc = chart_of("means").mark_point(filled=True, size=60, stroke="white", strokeWidth=1.5, opacity=1)
    layers = [
        chart_of(TARGET)
        .mark_rule(clip=True, strokeWidth=1.5, color=GREY)
        .encode(x=alt.X("target:Q", scale=scale)),
        ticks.encode(x=x, y=y, color=paint, tooltip=["method:N", named, "seed:N", "chip:N"]),
        disc.encode(x=alt.X("mean:Q", scale=scale), y=y, color=paint, tooltip=["method:N", "mean:Q"]),
    ]
    if any(mean["kpp"] is not None for mean in means):
        tooltip = ["method:N", alt.Tooltip("kpp:Q", title="KPP5")]
        layers.append(low.encode(x=alt.X("kpp:Q", scale=scale), y=y, color=alt.value(GREY), tooltip=tooltip))
    line = [] if target is None else [{"target": target}]
    spec = spec_of(layers, height={"step": 36}, chips=chips, means=means, target=line)
    spec["layer"][0]["data"]["name"] = TARGET
    return spec


def _scale(chips: Rows, score: Score) -> Any:
    """The range of the chips with a little room, whatever the target."""
    import altair as alt

    values = [row["accuracy"] for row in chips]
    spread = max(values) - min(values)
    room = max(0.5, 0.04 * spread) if score.unit == "%" else 0.04 * spread or 1.0
    least, most = (score.scale * end for end in score.within or (-math.inf, math.inf))
    return alt.Scale(domain=[max(least, min(values) - room), min(most, max(values) + room)], nice=False)


def _axis(score: Score) -> str:
    return f"{score.name} of one chip" + (f" in {score.unit}" if score.unit else "")


def _chips(group: Group) -> Rows:
    found: Rows = [
        {"method": group.method, "accuracy": percent(value, group.score), "seed": seed, "chip": chip}
        for seed, chips in group.accuracy.items()
        for chip, value in chips.items()
    ]
    found.sort(key=lambda row: row["accuracy"])
    if len(found) <= SHOWN:
        return found
    return [found[round(i * (len(found) - 1) / (SHOWN - 1))] for i in range(SHOWN)]


def _mean(group: Group) -> dict[str, Any]:
    verdict = verdict_of(group)
    kpp = None if verdict.kpp is None else percent(verdict.kpp.estimate, group.score)
    return {"method": group.method, "mean": percent(verdict.mean.estimate, group.score), "kpp": kpp}
