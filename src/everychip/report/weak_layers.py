"""What `everychip sensitivity` left in run folders, as the report reads it: a table and its charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from everychip.charts.style import GREY, Rows, chart_of, percent, spec_of
from everychip.evaluation.sensitivity import WORTH
from everychip.report.blocks import Column, Figure, Panel, Row, Table
from everychip.report.results import WeakLayers
from everychip.report.wording import effective, sigma_text
from everychip.report.wording import percent as in_percent
from everychip.scores import ACCURACY, Score
from everychip.storage.files import read_json
from everychip.study.sensitivity import FILE, FORMAT, Crossing, Layer, Layers, SensitivityRecord, Step

COLOURS = {"": GREY, "write-verify": "#e69f00", "digital": "#0072b2"}
LOST = {
    "only": "{step} lost by the noise of one layer alone",
    "all_but": "{step} that come back where one layer has no noise",
}


def read_answer(folder: Path, run: str = "") -> tuple[WeakLayers, ...]:
    """The answer that lies in a run folder, if there is one."""
    path = folder / FILE
    if not path.is_file():
        return ()
    data = read_json(path, form=FORMAT)
    remedy = "ask again: everychip sensitivity"
    return (WeakLayers(run, SensitivityRecord.read(data, path=path, remedy=remedy)),)


def table(answer: WeakLayers) -> Table:
    """A row for each layer, the costliest first."""
    record, score = answer.record, _score(answer)
    columns = (
        Column("layer", "key"),
        Column("weights", below="%"),
        Column("MACs", below="%"),
        Column("σ_W/rms"),
        Column(f"{score.step} {'lost' if record.sensitivity.mode == 'only' else 'back'}"),
        Column("deserves", "key"),
    )
    rows = tuple(
        Row(
            (
                row.layer,
                in_percent(row.weights),
                "–" if row.macs is None else in_percent(row.macs),
                effective(row.of_rms),
                _lost(row, score),
                row.advice or "nothing",
            )
        )
        for row in record.sensitivity.layers
    )
    sigma = "" if record.sigma is None else f" at σ = {sigma_text(record.sigma)}"
    where = f", {answer.run}" if answer.run else ""
    notes = (record.words, *record.remarks)
    return Table(f"Layer by layer on {record.device}{sigma}{where}", columns, rows, notes)


def _score(answer: WeakLayers) -> Score:
    """What the layers cost in; files of earlier versions know of accuracy alone."""
    noisy = answer.record.sensitivity.noisy
    return ACCURACY if noisy is None else noisy.score


def _lost(row: Layer, score: Score) -> str:
    half = 0.0 if row.low is None or row.high is None else (row.high - row.low) / 2
    digits = 2 if score.unit == "%" else score.digits(half, row.lost)
    return " ± ".join(score.number(value, digits=digits) for value in (row.lost, half)).replace("-", "−")


def figure(answers: Sequence[WeakLayers]) -> Figure:
    """What each layer costs, and accuracy over σ with the break-even."""
    panels = []
    for answer in answers:
        where = f"{answer.run}: " if answer.run else ""
        record, score = answer.record, _score(answer)
        lost = LOST[record.sensitivity.mode].format(step=score.step[:1].upper() + score.step[1:])
        panels.append(Panel(where + lost, _layers_chart(record.sensitivity, score)))
        if record.break_even is not None:
            name = f"{where}{score.title} over σ, and its break-even"
            panels.append(Panel(name, _crossing_chart(record.break_even, score)))
    in_points = all(_score(answer).unit == "%" for answer in answers)
    caption = (
        "With intervals that hold for all layers together at 95 %. The dotted line marks "
        f"{f'{100 * WORTH:g} points' if in_points else 'what is free'}: a layer deserves something where its "
        "interval lies wholly beyond."
    )
    if any(answer.record.break_even for answer in answers):
        caption += " Vertical lines: the break-even σ and its 95 % interval; horizontal: the target."
    return Figure("sensitivity", "Sensitivity to noise, layer by layer", tuple(panels), (), caption)


def _layers_chart(found: Layers, score: Score) -> dict[str, Any]:
    import altair as alt

    rows: Rows = [
        {
            "layer": row.layer,
            "points": percent(row.lost, score),
            "low": percent(row.lost if row.low is None else row.low, score),
            "high": percent(row.lost if row.high is None else row.high, score),
            "deserves": row.advice or "nothing",
            "word": row.advice,
            "MACs": "–" if row.macs is None else f"{in_percent(row.macs)} %",
            "weights": f"{in_percent(row.weights)} %",
        }
        for row in found.layers
    ]
    y = alt.Y("layer:N", title=None, sort=[row.layer for row in found.layers])
    of = "" if score.step == score.name else f" of {score.name}"
    x = alt.X("points:Q", title=score.step + of)
    scale = alt.Scale(domain=[advice or "nothing" for advice in COLOURS], range=list(COLOURS.values()))
    paint = alt.Color("deserves:N", scale=scale, legend=None)
    base = chart_of("costs").encode(y=y, color=paint)
    layers = [
        chart_of("worth").mark_rule(strokeDash=[2, 2], color=GREY).encode(x="points:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, tooltip=["layer:N", "points:Q", "deserves:N", "weights:N", "MACs:N"]
        ),
        base.mark_text(align="left", dx=8, dy=-8).encode(x=x, text="word:N"),
    ]
    worth = percent(WORTH) if score.unit == "%" else 0.0
    return spec_of(layers, height={"step": 36}, costs=rows, worth=[{"points": worth}])


def _near(found: Crossing) -> list[Step]:
    """The steps around the crossing, up to the first one far beyond it; all of them where there is none."""
    far = [step.sigma for step in found.steps if found.high is not None and step.sigma > 2 * found.high]
    return [step for step in found.steps if not far or step.sigma <= min(far)]


def _crossing_chart(found: Crossing, score: Score) -> dict[str, Any]:
    import altair as alt

    least, most = score.within or (-math.inf, math.inf)
    steps: Rows = [
        {
            "sigma": step.sigma,
            "mean": percent(step.mean, score),
            "low": percent(step.mean if step.low is None else max(step.low, least), score),
            "high": percent(step.mean if step.high is None else min(step.high, most), score),
        }
        for step in _near(found)
    ]
    ends: Rows = [{"sigma": s} for s in (found.low, found.sigma, found.high) if s is not None]
    y = alt.Y("mean:Q", title=score.label, scale=alt.Scale(zero=False))
    base = chart_of("steps").encode(x=alt.X("sigma:Q", title="nominal device σ", axis=alt.Axis(tickCount=5)))
    layers = [
        chart_of("ends").mark_rule(strokeDash=[2, 2], color=GREY).encode(x="sigma:Q"),
        chart_of("target").mark_rule(strokeDash=[2, 2], color=GREY).encode(y="mean:Q"),
        base.mark_area(opacity=0.16, color=COLOURS["digital"]).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(color=COLOURS["digital"]).encode(y=y),
        base.mark_point(filled=True, size=36, opacity=1, color=COLOURS["digital"]).encode(
            y=y, tooltip=["sigma:Q", "mean:Q", "low:Q", "high:Q"]
        ),
    ]
    target: Mapping[str, Any] = {"mean": percent(found.target, score)}
    return spec_of(layers, height=300, steps=steps, ends=ends, target=[dict(target)])
