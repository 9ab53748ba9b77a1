"""The style of every chart, of a report and of a notebook: lines, type, rows by name, percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from everychip.scores import ACCURACY, Score

if TYPE_CHECKING:
    import altair as alt

GREY = "#8a8a8a"
SHOWN = 200
"""At most so many chips are drawn one by one."""

Rows = list[dict[str, Any]]
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


def scale_of(values: Iterable[float]) -> alt.Scale:
    """The scale of an axis that need not begin at zero.

    Equal values stand in the middle of a range: on an axis of no length, Vega rounds its one number.
    """
    import altair as alt

    least, most = min(found := [*values], default=0.0), max(found, default=0.0)
    if least < most:
        return alt.Scale(zero=False)
    room = 0.1 * abs(least) or 1.0
    return alt.Scale(domain=[least - room, least + room])


def percent(share: float, score: Score = ACCURACY) -> float:
    """A share in percent, or another score, as exact as a chart can show it.

    Args:
        share: 0 … 1, or a value of the score.
        score: what it is; only one in percent is scaled.
    """
    return round(100 * share, 3) if score.unit == "%" else float(f"{share:.6g}")
