"""The table of accuracy over time, for devices that age."""

from __future__ import annotations

from collections.abc import Sequence

from everychip.report.blocks import Column, Row, Table
from everychip.report.results import CONTEXT, Group, Panel, Results
from everychip.report.tables import footnotes, mean_cell
from everychip.report.wording import sigma_text, spread, time_text


def aged(panel: Panel) -> tuple[Group, ...]:
    """The groups of a panel at its one σ, at all times; none where there are not at least two times."""
    several = len(panel.times) > 1
    return tuple(g for g in panel.groups if g.sigma == panel.sigma and g.time is not None and several)


def over_time(results: Results, *, panels: Sequence[Panel] | None = None, limit: int = 5) -> Table | None:
    """Mean accuracy ± its interval: a row per trained method, a column for each of at most `limit` times."""
    panels = [panel for panel in (results.panels if panels is None else panels) if aged(panel)]
    if not panels:
        return None
    times = sorted({time for panel in panels for time in panel.times})
    if len(times) > limit:
        times = [times[round(i * (len(times) - 1) / (limit - 1))] for i in range(limit)]
    groups = [group for panel in panels for group in aged(panel)]
    columns = [
        *(Column(name, "context") for name in CONTEXT),
        Column("σ", "context"),
        Column("method", "key"),
    ]
    for time in times:
        noise = spread(group.of_rms for group in groups if group.time == time)
        columns.append(Column(time_text(time), below=noise))
    rows = []
    for panel in panels:
        cell = {(group.method, group.time): group for group in aged(panel)}
        for method in dict.fromkeys(group.method for group in aged(panel)):
            found = [cell.get((method, time)) for time in times]
            cells = [mean_cell(results, group) if group else "" for group in found]
            rows.append(Row((*panel.context.words, sigma_text(panel.sigma), method, *cells), method))
    note = (
        f"Mean {results.score.label} ± half its 95 % interval, the same chips at every time. Below each "
        "time: the effective weight noise σ_W/rms(W) of the rows, which is their spread without what all "
        "have lost."
    )
    notes = (note, *footnotes(results, groups))
    return Table(f"{results.score.title} over time", tuple(columns), tuple(rows), notes).without_constants()
