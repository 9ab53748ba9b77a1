"""Against the controls: how much of a gain is the method's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everychip.charts.style import GREY, chart_of, percent, spec_of
from everychip.report.blocks import Block, Details, Figure, Section, Text
from everychip.report.blocks import Panel as Chart
from everychip.report.compared import Difference, differences
from everychip.report.method_kinds import method_of
from everychip.report.plots import colour, title_of
from everychip.report.results import Results
from everychip.report.tables import controls_apart
from everychip.report.wording import MINUS, at_sigma
from everychip.scores import Score

LEAD = "A control costs the same as a method and lacks only what the method claims to help."
CAPTION = (
    "{unit} above (right) or below (left) the control{remark}, paired over the same seeds and chips, "
    "with the 95 % interval. Where it crosses zero, no difference is shown."
)


def section(results: Results, *, target: float | None) -> Section | None:
    """Every method against its controls, drawn, in numbers and in words."""
    del target
    found = differences(results.panels)
    if not found:
        return None
    sentences = Text(tuple(f"{_place(results, d)}: {d.sentence}." for d in found), style="list")
    drawn = forest(results, found)
    blocks: list[Block] = [Text((_lead(found),)), *([drawn] if drawn else [])]
    blocks += controls_apart(results, found)
    blocks.append(Details("The same in sentences", sentences))
    return Section("controls", 30, "Is it the method, or its control?", tuple(blocks))


def _lead(found: Sequence[Difference]) -> str:
    """What controls are for, and what each of these has in common with the methods."""
    kinds = dict.fromkeys(d.control.kind for d in found)
    told = [f"`{kind}` {text}" for kind in kinds if (text := method_of(kind).as_control)]
    said = f" {'; '.join(told)}." if told else ""
    name = found[0].interval.score.name
    return f"{LEAD}{said} A method that does not differ from its controls owes them its {name}."


def _place(results: Results, difference: Difference) -> str:
    panel = difference.panel
    return title_of(results, panel, f"at {at_sigma(panel.sigma, panel.at_sigma)}")


def forest(results: Results, found: Sequence[Difference]) -> Figure | None:
    """Each difference with its interval, a panel for each context and training σ."""
    panels = []
    for panel in results.panels:
        mine = [d for d in found if d.panel is panel]
        if mine:
            panels.append(Chart(_place(results, mine[0]), _chart(results, mine)))
    if not panels:
        return None
    score = results.score
    caption = CAPTION.format(unit=_capital(_unit(score)), remark=score.remark)
    return Figure("differences", "Differences from the controls", tuple(panels), results.methods, caption)


def _chart(results: Results, found: Sequence[Difference]) -> dict[str, Any]:
    import altair as alt

    values = [_row(difference) for difference in found]
    # Two lines for a pair: a phone has no room for both names beside each other.
    pair = f"split(datum.label, ' {MINUS} ')"
    two_lines = f"[{pair}[0], '{MINUS} ' + {pair}[1]]"
    labels = alt.Axis(labelExpr=two_lines, labelLineHeight=14, ticks=False, domain=False)
    base = chart_of("pairs").encode(
        y=alt.Y("pair:N", title=None, sort=[value["pair"] for value in values], axis=labels),
        color=colour(results.method_kinds, legend=False),
        tooltip=["finding:N"],
    )
    title, axis = f"{_unit(found[0].interval.score)} over the control", alt.Axis(tickCount=6)
    x = alt.X("low:Q", title=title, axis=axis, scale=_scale(values))
    layers = [
        chart_of("zero").mark_rule(color=GREY, strokeWidth=1.5).encode(x=alt.X("zero:Q")),
        base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("points:Q")),
    ]
    return spec_of(layers, height={"step": 38}, pairs=values, zero=[{"zero": 0}])


def _scale(values: Sequence[dict[str, Any]]) -> Any:
    """Zero and every interval, with room on both sides: one interval alone does not fill the frame."""
    import altair as alt

    low, high = min(0.0, *(v["low"] for v in values)), max(0.0, *(v["high"] for v in values))
    room = 0.08 * (high - low) or 1.0
    return alt.Scale(domain=[low - room, high + room], nice=True)


def _unit(score: Score) -> str:
    return f"points of {score.name}" if score.unit == "%" else score.label


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _row(difference: Difference) -> dict[str, Any]:
    interval = difference.interval
    low = interval.estimate if interval.low is None else interval.low
    high = interval.estimate if interval.high is None else interval.high
    return {
        "pair": f"{difference.method.method} {MINUS} {difference.control.method}",
        "method": difference.method.method,
        "points": percent(interval.estimate, interval.score),
        "low": percent(low, interval.score),
        "high": percent(high, interval.score),
        "finding": difference.sentence,
    }
