"""What every chart of a report shares: one look for each method, and the style of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from everychip.report.palette import Look, looks
from everychip.report.results import Panel, Results

if TYPE_CHECKING:
    import altair as alt

GREY = "#8a8a8a"
AXIS = {"labelColor": "currentColor", "titleColor": "currentColor", "gridColor": GREY, "gridOpacity": 0.25}
AXIS_LINES = {"domainColor": GREY, "tickColor": GREY}
AXIS_TEXT = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 220}
STYLE: dict[str, Any] = {
    "background": None,
    "view": {"stroke": None},
    "axis": AXIS | AXIS_LINES | AXIS_TEXT | {"titlePadding": 8},
    "legend": {"labelColor": "currentColor", "labelFontSize": 12, "symbolOpacity": 1, "symbolSize": 80},
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
}
"""Vega's config: text takes the colour of the page around it, so one chart serves light, dark and print."""

Rows = list[dict[str, Any]]


def chart_of(name: str) -> alt.Chart:
    """A chart of the rows that `spec_of` is given under this name."""
    import altair as alt

    return alt.Chart(alt.NamedData(name=name))


def spec_of(layers: Sequence[alt.Chart], *, height: int | dict[str, int], **data: Rows) -> dict[str, Any]:
    """The Vega-Lite specification of layers over named rows, without style and width: the page gives it both.

    The first rows stand once, for all layers that share them.
    """
    import altair as alt

    # Rows join after altair is done: it would check every number of them against its schema.
    spec: dict[str, Any] = alt.layer(*layers).to_dict(validate=False)
    spec.pop("config", None)
    spec.pop("data", None)
    common = next(iter(data))
    for layer in spec["layer"]:
        name = layer.pop("data", {"name": common})["name"]
        if name != common:
            layer["data"] = {"values": data[name]}
    return {**spec, "data": {"values": data[common]}, "height": height}


def percent(share: float) -> float:
    """A share in percent, as exact as a chart can show it."""
    return round(100 * share, 3)


def title_of(results: Results, panel: Panel, words: str) -> str:
    """The title of a panel: what tells its context from the others, and the words."""
    heading = results.heading(panel.context)
    return f"{heading}, {words}" if heading else words[:1].upper() + words[1:]


def colour(methods: Sequence[str], *, legend: bool = True) -> alt.Color:
    """The colour of each method."""
    import altair as alt

    shown = alt.Color("method:N", title=None, scale=_scale(methods, lambda look: look.colour))
    return shown if legend else shown.legend(None)


def dash(methods: Sequence[str]) -> alt.StrokeDash:
    """The dashes of each method: baselines and controls have some."""
    import altair as alt

    scale = _scale(methods, lambda look: list(look.dash or (1, 0)))
    return alt.StrokeDash("method:N", title=None, scale=scale)


def shape(methods: Sequence[str]) -> alt.Shape:
    """The shape of each method's points."""
    import altair as alt

    return alt.Shape("method:N", title=None, scale=_scale(methods, lambda look: look.shape))


def vertical(name: str, x: alt.X) -> alt.Chart:
    """A thin vertical line at each of the named rows."""
    line: alt.Chart = chart_of(name).mark_rule(strokeDash=[2, 2], color=GREY).encode(x=x)
    return line


def _scale(methods: Sequence[str], part: Callable[[Look], Any]) -> alt.Scale:
    import altair as alt

    look = looks(methods)
    return alt.Scale(domain=list(methods), range=[part(look[method]) for method in methods])
