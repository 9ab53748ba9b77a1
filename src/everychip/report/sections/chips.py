"""Chip to chip: every single chip at the training σ, not only their mean."""

from __future__ import annotations

from typing import Any

from everychip.charts.style import GREY, SHOWN, Rows, chart_of, percent, spec_of
from everychip.report.blocks import Figure, Section
from everychip.report.blocks import Panel as Chart
from everychip.report.plots import colour, title_of
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma
from everychip.scores import Score

"""A chart draws at most so many chips of a method, taken evenly from the sorted ones."""
CAPTION = (
    f"Each tick is one chip (at most {SHOWN} are drawn), and every method meets the same chips. "
    "The disc is the mean; the triangle is KPP5, which 95 % of chips exceed."
)


def section(results: Results, *, target: float | None) -> Section:
    """How different the chips are from one another."""
    del target
    panels = [
        Chart(title_of(results, p, f"at {at_sigma(p.sigma, p.at_sigma)}"), _chart(results, p))
        for p in results.panels
    ]
    caption = CAPTION
    if any(not group.whole_test for group in results.groups):
        caption += " Where chips met only part of the test set, the choice of images spreads them, too."
    return Section(
        "chips", 40, "Chip to chip", (Figure("chips", "Chip to chip", tuple(panels), (), caption),)
    )


def _chart(results: Results, panel: Panel) -> dict[str, Any]:
    import altair as alt

    y = alt.Y("method:N", title=None, sort=list(results.methods))
    x = alt.X("accuracy:Q", title=_axis(results.score), scale=alt.Scale(zero=False))
    named = alt.Tooltip("accuracy:Q", title=results.score.name)
    paint = colour(results.methods, legend=False)
    chips = [row for group in panel.at_sigma for row in _chips(group)]
    means = [_mean(group) for group in panel.at_sigma]
    ticks = chart_of("chips").mark_tick(thickness=1, size=16, opacity=0.25)
    low = chart_of("means").mark_point(shape="triangle-up", filled=True, size=55, opacity=1, yOffset=12)
    disc = chart_of("means").mark_point(filled=True, size=60, stroke="white", strokeWidth=1.5, opacity=1)
    layers = [
        ticks.encode(x=x, y=y, color=paint, tooltip=["method:N", named, "seed:N", "chip:N"]),
        low.encode(
            x=alt.X("kpp:Q"),
            y=y,
            color=alt.value(GREY),
            tooltip=["method:N", alt.Tooltip("kpp:Q", title="KPP5")],
        ),
        disc.encode(x=alt.X("mean:Q"), y=y, color=paint, tooltip=["method:N", "mean:Q"]),
    ]
    return spec_of(layers, height={"step": 36}, chips=chips, means=means)


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
