"""Against the controls: how much of a gain is the method's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everychip.report.blocks import Figure, Section, Text
from everychip.report.blocks import Panel as Chart
from everychip.report.compared import Difference, differences
from everychip.report.plots import GREY, ROW_HEIGHT, chart_of, colour, percent, spec_of, title_of
from everychip.report.results import Results
from everychip.report.tables import against_controls
from everychip.report.wording import MINUS, at_sigma

LEAD = (
    "A control costs the same as a method and lacks only what the method claims to help. `noise_injection` "
    "is training under device noise and nothing else; `temperature` adds the softer loss that feedback "
    "methods bring with them; `deep_supervision` has the exits of `irs` with the opposite sign. A method "
    "that does not differ from its controls owes them its accuracy."
)
CAPTION = (
    "Points of accuracy above (right) or below (left) the control, paired over the same seeds and chips, "
    "with the 95 % interval. Where it crosses zero, no difference is shown."
)


def section(results: Results, *, target: float | None) -> Section | None:
    """Every method against its controls, drawn, in numbers and in words."""
    del target
    found = differences(results.panels)
    if not found:
        return None
    blocks = (Text((LEAD,)), forest(results, found), against_controls(found))
    return Section("controls", 30, "Is it the method, or its control?", blocks)


def forest(results: Results, found: Sequence[Difference]) -> Figure:
    """Each difference with its interval, a panel for each context and training σ."""
    panels = []
    for panel in results.panels:
        mine = [difference for difference in found if difference.panel is panel]
        if mine:
            words = f"at {at_sigma(panel.sigma, panel.at_sigma)}"
            panels.append(Chart(title_of(results, panel, words), _chart(results, mine)))
    return Figure("differences", "Differences from the controls", tuple(panels), (), CAPTION)


def _chart(results: Results, found: Sequence[Difference]) -> dict[str, Any]:
    import altair as alt

    values = [_row(difference) for difference in found]
    # Two lines for a pair: a phone has no room for both names beside each other.
    labels = alt.Axis(labelExpr=f"split(datum.label, ' {MINUS} ')", labelLineHeight=13, ticks=False)
    base = chart_of("pairs").encode(
        y=alt.Y("pair:N", title=None, sort=[value["pair"] for value in values], axis=labels),
        color=colour(results.methods, legend=False),
        tooltip=["finding:N"],
    )
    x = alt.X("low:Q", title="points of accuracy over the control")
    layers = [
        chart_of("zero").mark_rule(color=GREY).encode(x=alt.X("zero:Q")),
        base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("points:Q")),
    ]
    return spec_of(layers, height=ROW_HEIGHT, pairs=values, zero=[{"zero": 0}])


def _row(difference: Difference) -> dict[str, Any]:
    interval = difference.interval
    low = interval.estimate if interval.low is None else interval.low
    high = interval.estimate if interval.high is None else interval.high
    return {
        "pair": f"{difference.method.method} {MINUS} {difference.control.method}",
        "method": difference.method.method,
        "points": percent(interval.estimate),
        "low": percent(low),
        "high": percent(high),
        "finding": difference.sentence,
    }
