"""The tables of a report on a terminal, fitted to its width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from everychip.report.blocks import Table
from everychip.report.compared import differences
from everychip.report.over_time import over_time
from everychip.report.results import Panel, Results
from everychip.report.sections import treatment
from everychip.report.tables import (
    PER_CHIP_WORDS,
    against_controls,
    apart,
    at_training_sigma,
    everything,
    overview,
)

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console

_GAP = 2


def show(results: Results, *, target: float | None = None, console: Console | None = None) -> None:
    """Print what there is to say about a run or a study."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(markup=False, emoji=False)
    for table in tables(results, target=target):
        console.print(rich_table(table, width=console.width))
        for note in table.notes:
            console.print(Text(note, style="dim"))
        console.print()
    for line in treatment.lines(results):
        console.print(Text(line), soft_wrap=True)


def tables(results: Results, *, target: float | None = None) -> tuple[Table, ...]:
    """What a terminal shows: in each context accuracy over σ, the verdict at the training σ, differences."""
    if not results.is_study:
        return apart(results, lambda part: everything(part, target=target))
    shown = []
    for context, panels in results.by_context.items():
        found = differences(panels)
        ages = over_time(results, panels=panels)
        parts = [
            *([overview(results, panels=panels)] if _has_sigma(panels) else []),
            *([ages] if ages else []),
            at_training_sigma(results, panels=panels, target=target),
            *([against_controls(found)] if found else []),
        ]
        note = (PER_CHIP_WORDS,) if context.per_chip else ()
        shown += [_titled(part, results.heading(context), note) for part in parts]
    return tuple(shown)


def _has_sigma(panels: Sequence[Panel]) -> bool:
    return any(group.sigma is not None for panel in panels for group in panel.groups)


def _titled(table: Table, words: str, notes: tuple[str, ...]) -> Table:
    title = f"{table.title}: {words}" if words else table.title
    return Table(title, table.columns, table.rows, (*table.notes, *notes))


def fitted(table: Table, *, width: int) -> Table:
    """The table in brief, without as many minor columns as it takes to fit the width."""
    table = table.without("remark")
    keep = list(range(len(table.columns)))
    minor = [i for i in keep if table.columns[i].minor]
    while minor and _natural_width(table.only(keep), gap=1) > width:
        keep.remove(minor.pop())
    return table.only(keep)


def _natural_width(table: Table, *, gap: int) -> int:
    widths = [
        max(len(text) for text in (column.name, column.below, *(row.cells[i] for row in table.rows)))
        for i, column in enumerate(table.columns)
    ]
    return sum(widths) + gap * (len(widths) - 1)


def rich_table(table: Table, *, width: int = 80) -> rich.table.Table:
    """The table for rich; leading cells that repeat are left blank."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    table = fitted(table, width=width)
    drawn = RichTable(
        title=Text(table.title, style="bold"), title_justify="left", title_style="bold", box=SIMPLE_HEAD
    )
    roomy = _natural_width(table, gap=_GAP) <= width
    # The box draws one blank between columns already.
    drawn.padding, drawn.pad_edge, drawn.show_edge = (0, _GAP - 1 if roomy else 0, 0, 0), False, False
    for column in table.columns:
        name = Text.assemble(column.name, *([("\n" + column.below, "dim")] if column.below else []))
        drawn.add_column(name, justify="right" if column.role == "value" else "left", no_wrap=True)
    before = None
    for index, row in enumerate(table.rows):
        if table.begins(index):
            drawn.add_section()
        blank = [table.repeats(i, before, row) for i in range(len(row.cells))]
        drawn.add_row(*(Text("" if gone else cell) for cell, gone in zip(row.cells, blank, strict=True)))
        before = row
    return drawn
