"""The chart of one set of draws, or of its verdict alone, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everychip.charts.style import GREY, SHOWN, Rows, percent
from everychip.scores import ACCURACY, Score

if TYPE_CHECKING:
    import altair as alt

    from everychip.evaluation.draws import Draws
    from everychip.statistics.verdict import Verdict


def chart_of_draws(draws: Draws, verdict: Verdict) -> alt.LayerChart:
    """A tick for each chip (at most 200, evenly from the sorted ones) above the verdict's marks.

    Args:
        draws: whose accuracy is drawn.
        verdict: of the same draws.

    Returns:
        An Altair chart, which a notebook shows and `.save("draws.svg")` writes.
    """
    import altair as alt

    order = draws.values.argsort().tolist()
    if len(order) > SHOWN:
        order = [order[round(i * (len(order) - 1) / (SHOWN - 1))] for i in range(SHOWN)]
    chips = [
        {"accuracy": percent(float(draws.values[i]), draws.score), "chip": int(draws.chip[i])} for i in order
    ]
    ticks = alt.Chart({"values": chips}).mark_tick(thickness=1, size=16, opacity=0.4)
    x = alt.X("accuracy:Q", title=_axis(draws.score, " of one chip"), scale=alt.Scale(zero=False))
    return alt.LayerChart(
        layer=[ticks.encode(x=x, tooltip=["chip:Q", _named(draws.score)]), *_marks(verdict, x)]
    )


def chart_of_verdict(verdict: Verdict) -> alt.LayerChart:
    """The mean with its interval, the percentile and the worst chip on one axis of accuracy.

    Args:
        verdict: what is drawn; what it refuses has no mark.

    Returns:
        An Altair chart, which a notebook shows and `.save("verdict.svg")` writes.
    """
    import altair as alt

    x = alt.X("accuracy:Q", title=verdict.score.label, scale=alt.Scale(zero=False))
    return alt.LayerChart(layer=_marks(verdict, x))


def _axis(score: Score, of: str) -> str:
    return f"{score.name}{of}" + (f" in {score.unit}" if score.unit else "")


def _named(score: Score) -> Any:
    import altair as alt

    return "accuracy:Q" if score == ACCURACY else alt.Tooltip("accuracy:Q", title=score.name)


def _marks(verdict: Verdict, x: alt.X) -> list[alt.Chart]:
    import altair as alt

    points: Rows = [{"what": "mean", "accuracy": percent(verdict.mean.estimate, verdict.score)}]
    if verdict.kpp is not None:
        points.append({"what": f"KPP{verdict.k:g}", "accuracy": percent(verdict.kpp.estimate, verdict.score)})
    if verdict.worst is not None:
        points.append({"what": "worst", "accuracy": percent(verdict.worst, verdict.score)})
    names = [point["what"] for point in points]
    looks = dict(zip(names, ("circle", "triangle-up", "cross"), strict=False))
    shape = alt.Shape("what:N", title=None, scale=alt.Scale(domain=names, range=list(looks.values())))
    dots = alt.Chart({"values": points}).mark_point(filled=True, size=70, opacity=1, color="#0072b2")
    band: list[dict[str, Any]] = []
    if verdict.mean.low is not None and verdict.mean.high is not None:
        band = [
            {
                "accuracy": percent(verdict.mean.low, verdict.score),
                "high": percent(verdict.mean.high, verdict.score),
            }
        ]
    rule = alt.Chart({"values": band}).mark_rule(strokeWidth=4, color=GREY, opacity=0.7)
    return [
        rule.encode(x=x, x2="high:Q"),
        dots.encode(x=x, shape=shape, tooltip=["what:N", _named(verdict.score)]),
    ]
