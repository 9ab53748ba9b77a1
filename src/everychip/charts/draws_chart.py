"""The chart of the chips of one network, or of their verdict alone, for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from everychip.charts.style import GREY, SHOWN, Rows, percent, scale_of
from everychip.scores import ACCURACY, Score

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Marks:
    """What a verdict shows on the axis of its score.

    points: "mean", "KPP5" and "worst" with their values, those that are not refused. band: of the mean.
    """

    score: Score
    points: tuple[tuple[str, float], ...]
    band: tuple[float, float] | None = None


def chart_of_chips(values: Tensor, chips: Sequence[int], marks: Marks) -> alt.LayerChart:
    """A tick for each chip (at most 200, evenly from the sorted ones) above the verdict's marks.

    Args:
        values: the score of each chip [chips].
        chips: their numbers.
        marks: of the verdict on them.

    Returns:
        An Altair chart, which a notebook shows and `.save("draws.svg")` writes.
    """
    import altair as alt

    order = values.argsort().tolist()
    if len(order) > SHOWN:
        order = [order[round(i * (len(order) - 1) / (SHOWN - 1))] for i in range(SHOWN)]
    rows = [{"accuracy": percent(float(values[i]), marks.score), "chip": int(chips[i])} for i in order]
    ticks = alt.Chart({"values": rows}).mark_tick(thickness=1, size=16, opacity=0.4)
    scale = scale_of([*(row["accuracy"] for row in rows), *_ends(marks)])
    x = alt.X("accuracy:Q", title=_axis(marks.score, " of one chip"), scale=scale)
    drawn = ticks.encode(x=x, tooltip=["chip:Q", _named(marks.score)])
    return alt.LayerChart(layer=[drawn, *_layers(marks, x)])


def chart_of_marks(marks: Marks) -> alt.LayerChart:
    """The mean with its interval, the percentile and the worst chip on one axis.

    Args:
        marks: of a verdict.

    Returns:
        An Altair chart, which a notebook shows and `.save("verdict.svg")` writes.
    """
    import altair as alt

    shown = [*(percent(value, marks.score) for _, value in marks.points), *_ends(marks)]
    x = alt.X("accuracy:Q", title=marks.score.label, scale=scale_of(shown))
    return alt.LayerChart(layer=_layers(marks, x))


def _axis(score: Score, of: str) -> str:
    return f"{score.name}{of}" + (f" in {score.unit}" if score.unit else "")


def _named(score: Score) -> Any:
    import altair as alt

    return "accuracy:Q" if score == ACCURACY else alt.Tooltip("accuracy:Q", title=score.name)


def _layers(marks: Marks, x: alt.X) -> list[alt.Chart]:
    import altair as alt

    points: Rows = [{"what": name, "accuracy": percent(value, marks.score)} for name, value in marks.points]
    names = [name for name, _ in marks.points]
    looks = dict(zip(names, ("circle", "triangle-up", "cross"), strict=False))
    shape = alt.Shape("what:N", title=None, scale=alt.Scale(domain=names, range=list(looks.values())))
    dots = alt.Chart({"values": points}).mark_point(filled=True, size=70, opacity=1, color="#0072b2")
    ends = _ends(marks)
    band = [{"accuracy": ends[0], "high": ends[1]}] if ends else []
    rule = alt.Chart({"values": band}).mark_rule(strokeWidth=4, color=GREY, opacity=0.7)
    return [
        rule.encode(x=x, x2="high:Q"),
        dots.encode(x=x, shape=shape, tooltip=["what:N", _named(marks.score)]),
    ]


def _ends(marks: Marks) -> list[float]:
    return [percent(end, marks.score) for end in marks.band or ()]
