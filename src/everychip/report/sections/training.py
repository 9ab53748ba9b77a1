"""Training: which runs went wrong, in words; how many end above chance; of a single run, its history."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from everychip.charts.style import Rows, chart_of, scale_of, spec_of
from everychip.report.blocks import Block, Figure, Section, Text
from everychip.report.blocks import Panel as Chart
from everychip.report.converged import probabilities
from everychip.report.palette import looks
from everychip.report.plots import vertical
from everychip.report.results import FAILED, Results, Run
from everychip.report.tables import headed
from everychip.report.wording import count, listing
from everychip.statistics.outcome import words_of

EPOCH_TICKS = 10

CAPTION = "The dotted vertical line marks the epoch whose weights were kept, chosen on the validation split."


def section(results: Results, *, target: float | None) -> Section | None:
    """How training ended, run by run where it ended badly; nothing where nothing was trained."""
    del target
    if not any(run.trained for run in results.runs):
        return None
    blocks: list[Block] = [Text((_counted(results),))]
    failed = [run for run in results.runs if run.status in FAILED]
    if failed:
        blocks.append(Text(tuple(_words(run) for run in failed), style="list"))
    for kind, part in results.kinds.items():
        if table := probabilities(part):
            blocks.append(headed(table, kind))
    drawn = history(results)
    if drawn:
        blocks.append(drawn)
    return Section("training", 50, "How training ended", tuple(blocks))


def _counted(results: Results) -> str:
    counted = Counter(run.status for run in results.runs)
    parts = [f"{number} {words_of(status)}" for status, number in counted.most_common()]
    return (
        f"Of {count(len(results.runs), 'training')}, judged on validation data: {listing(parts)}."
        if parts
        else "No training is recorded."
    )


def _words(run: Run) -> str:
    return f"**{run.name}** {words_of(run.status)}" + (f": {run.words}." if run.words else ".")


def history(results: Results) -> Figure | None:
    """Loss and validation accuracy over the epochs, where the folder is that of one run."""
    run = results.runs[0] if len(results.runs) == 1 else None
    if run is None:
        return None
    panels = []
    score = run.score
    judged = (score.name, f"Validation {score.label}", score.scale)
    for key, title, scale in (("loss", "Training loss", 1.0), judged):
        values = [
            {"epoch": int(row["epoch"]) + 1, key: scale * float(row[key])}
            for row in run.history
            if isinstance(row.get(key), int | float)
        ]
        if values:
            panels.append(Chart(title, _chart(results, run, values, key)))
    return Figure("training", "Training", tuple(panels), (), CAPTION) if panels else None


def _chart(results: Results, run: Run, values: Rows, key: str) -> dict[str, Any]:
    import altair as alt

    colour = looks(results.method_kinds)[results.methods[0]].colour
    last = max(2, len(run.history))
    # Named one by one, for a tick between two epochs would be printed as one of them.
    ticks = range(1, last + 1, math.ceil(last / EPOCH_TICKS))
    x = alt.X(
        "epoch:Q",
        axis=alt.Axis(values=[*ticks], format="d"),
        scale=alt.Scale(domain=[1, last], nice=False),
    )
    y = alt.Y(f"{key}:Q", title=None, scale=scale_of(row[key] for row in values))
    base = chart_of("epochs").encode(x=x, y=y, tooltip=["epoch:Q", f"{key}:Q"])
    layers = [base.mark_line(color=colour), base.mark_point(color=colour, filled=True, size=40, opacity=1)]
    best = [] if run.best_epoch is None else [{"epoch": run.best_epoch + 1}]
    return spec_of([vertical("best", x), *layers], height=200, epochs=values, best=best)
