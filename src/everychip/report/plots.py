"""What every chart of a report shares: one look for each method, and the style of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from everychip.charts.style import GREY, chart_of, percent
from everychip.report.palette import Look, looks
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import count, effective, mean_of
from everychip.scores import ACCURACY, Score

if TYPE_CHECKING:
    import altair as alt


def title_of(results: Results, panel: Panel, words: str) -> str:
    """The title of a panel: what tells its context from the others, and the words."""
    heading = results.heading(panel.context)
    return f"{heading}, {words}" if heading else words[:1].upper() + words[1:]


def colour(methods: Mapping[str, str], *, legend: bool = True) -> alt.Color:
    """The colour of each method."""
    import altair as alt

    shown = alt.Color("method:N", title=None, scale=_scale(methods, lambda look: look.colour))
    return shown if legend else shown.legend(None)


def stroke(methods: Mapping[str, str]) -> alt.Stroke:
    """The colour of each method for an outline, which tells bands apart where they overlap."""
    import altair as alt

    scale = _scale(methods, lambda look: look.colour)
    return alt.Stroke("method:N", title=None, scale=scale)


def dash(methods: Mapping[str, str]) -> alt.StrokeDash:
    """The dashes of each method: baselines and controls have some."""
    import altair as alt

    scale = _scale(methods, lambda look: list(look.dash or (1, 0)))
    return alt.StrokeDash("method:N", title=None, scale=scale)


def shape(methods: Mapping[str, str]) -> alt.Shape:
    """The shape of each method's points."""
    import altair as alt

    return alt.Shape("method:N", title=None, scale=_scale(methods, lambda look: look.shape))


def curves(
    methods: Mapping[str, str],
    x: alt.X,
    *,
    domain: list[float],
    tooltip: Sequence[str],
    score: Score = ACCURACY,
) -> list[alt.Chart]:
    """A line for each method over the rows called `points`, a band from low to high, dots to point at.

    The pointer makes one method stand out. All charts of a figure share the vertical `domain`, in percent.
    """
    import altair as alt

    hover = alt.selection_point(fields=["method"], on="pointerover", clear="pointerout", name="hover")
    scale = alt.Scale(domain=domain, nice=False)
    y = alt.Y("mean:Q", title=score.label, scale=scale)
    vivid = alt.condition(hover, alt.value(1.0), alt.value(0.15))
    faint = alt.condition(hover, alt.value(0.16), alt.value(0.02))
    base = chart_of("points").encode(x=x, color=colour(methods))
    edged = base.mark_area(clip=True, strokeWidth=0.8, strokeOpacity=0.5).encode(stroke=stroke(methods))
    band = edged.encode(y=alt.Y("low:Q", scale=scale), y2="high:Q", fillOpacity=faint, opacity=vivid)
    line = base.mark_line(strokeWidth=2, clip=True).encode(y=y, opacity=vivid, strokeDash=dash(methods))
    dots = base.mark_point(filled=True, size=46).encode(
        y=y, opacity=vivid, shape=shape(methods), tooltip=list(tooltip)
    )
    return [band, line, dots.add_params(hover)]


def point_of(group: Group) -> dict[str, Any]:
    """What `curves` draws of a group, without its place on the horizontal axis."""
    mean = verdict_of(group).mean
    score = group.score
    least, most = score.within or (-math.inf, math.inf)
    low = mean.estimate if mean.low is None else max(mean.low, least)
    high = mean.estimate if mean.high is None else min(mean.high, most)
    return {
        "method": group.method,
        "mean": percent(mean.estimate, score),
        "low": percent(low, score),
        "high": percent(high, score),
        score.name: f"{mean_of(mean)} {score.unit}".rstrip(),
        "σ_W/rms(W)": effective(group.of_rms),
        "σ_W/max|W|": effective(group.of_max),
        "chips": f"{group.chips} of {count(group.seeds, 'training seed')}",
    }


def domain_of(groups: Iterable[Group]) -> list[float]:
    """One vertical scale for all panels that holds every mean and every band; of shares in tens."""
    groups = list(groups)
    ends = [float(point_of(group)[end]) for group in groups for end in ("low", "high")]
    if groups[0].score.unit != "%":
        room = 0.05 * (max(ends) - min(ends))
        return [min(ends) - room, max(ends) + room]
    return [10.0 * math.floor(min(ends) / 10), 10.0 * math.ceil(max(ends) / 10)]


def vertical(name: str, x: alt.X) -> alt.Chart:
    """A thin vertical line at each of the named rows."""
    line: alt.Chart = chart_of(name).mark_rule(strokeDash=[2, 2], color=GREY).encode(x=x)
    return line


def _scale(methods: Mapping[str, str], part: Callable[[Look], Any]) -> alt.Scale:
    import altair as alt

    look = looks(methods)
    return alt.Scale(domain=list(methods), range=[part(look[method]) for method in methods])
