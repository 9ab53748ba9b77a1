"""Accuracy over time: how long the accuracy of a programmed chip lasts on a device that ages."""

from __future__ import annotations

from typing import Any

from everychip.charts.style import spec_of
from everychip.report.blocks import Block, Figure, Section
from everychip.report.blocks import Panel as Chart
from everychip.report.over_time import aged, over_time
from everychip.report.plots import curves, domain_of, point_of, title_of
from everychip.report.results import Panel, Results
from everychip.report.tables import headed
from everychip.report.wording import time_text

HEIGHT = 300
CAPTION = (
    "Mean over chips and seeds, with its 95 % interval. Every chip is programmed once, and the same chip is "
    "read at every time. What a time counts from is the device's to say: phase-change cells count from their "
    "first read, the others from programming."
)


def section(results: Results, *, target: float | None) -> Section | None:
    """How accuracy falls as the chips age."""
    del target
    panels = [panel for panel in results.panels if aged(panel)]
    if not panels:
        return None
    charts = tuple(Chart(title_of(results, p, "over time"), _chart(results, panels, p)) for p in panels)
    blocks: list[Block] = [
        Figure("time", f"{results.score.title} over time", charts, results.methods, CAPTION)
    ]
    for kind, part in results.kinds.items():
        table = over_time(part)
        if table is not None:
            blocks.append(headed(table, kind))
    return Section("time", 15, f"How long the {results.score.name} lasts", tuple(blocks))


def _chart(results: Results, panels: list[Panel], panel: Panel) -> dict[str, Any]:
    import altair as alt

    values = [{**point_of(g), "time": g.time, "read at": time_text(g.time)} for g in aged(panel)]
    domain = domain_of(group for one in panels for group in aged(one))
    tooltip = ["method:N", f"{results.score.name}:N", "read at:N", "σ_W/rms(W):N", "σ_W/max|W|:N", "chips:N"]
    x = alt.X("time:Q", title="time, logarithmic", axis=_axis(results.times), scale=_scale(results.times))
    return spec_of(
        curves(results.method_kinds, x, domain=domain, tooltip=tooltip, score=results.score),
        height=HEIGHT,
        points=values,
    )


def _axis(times: tuple[float, ...]) -> Any:
    """A tick at every time, in words."""
    import altair as alt

    words = "".join(f"datum.value == {time!r} ? '{time_text(time)}' : " for time in times)
    return alt.Axis(values=list(times), labelExpr=f"{words}''", labelOverlap=True)


def _scale(times: tuple[float, ...]) -> Any:
    """Logarithmic; 0, which has no logarithm, stands a little before the first time after it."""
    import altair as alt

    ends = [min(times), max(times)]
    if ends[0] > 0:
        return alt.Scale(type="log", domain=ends, nice=False, padding=8)
    return alt.Scale(type="symlog", constant=times[1], domain=ends, nice=False, padding=8)
