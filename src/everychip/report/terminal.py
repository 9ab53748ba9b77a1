"""The tables of a report on a terminal, fitted to its width."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from everychip.charts.paragraph import paragraph
from everychip.report.blocks import Table
from everychip.report.compared import differences
from everychip.report.over_time import over_time
from everychip.report.results import Panel, Results
from everychip.report.sections import answer, contrasts, treatment
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
LONGEST = 14
"""A word of a label is broken only where it is longer than this."""


def show(results: Results, *, target: float | None = None, console: Console | None = None) -> None:
    """Print what there is to say about a run or a study."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(markup=False, emoji=False, force_jupyter=False)
    for table in tables(results, target=target):
        console.print(rich_table(table, width=console.width))
        for note in table.notes:
            _say(console, note, style="dim")
        console.print()
    for line in (*answer.digital_words(results), *treatment.lines(results)):
        console.print(Text(line), soft_wrap=True)


def _say(console: Console, words: str, *, style: str = "") -> None:
    from rich.text import Text

    for line in paragraph(words, console.width):
        console.print(Text(line, style=style), soft_wrap=True)


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
    return (*shown, *contrasts.tables(results))


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
    while minor and sum(_natural(table.only(keep))) + len(keep) - 1 > width:
        keep.remove(minor.pop())
    return table.only(keep)


def _natural(table: Table) -> list[int]:
    """How wide each column would like to be."""
    return [
        max(len(text) for text in (column.name, column.below, *(row.cells[i] for row in table.rows)))
        for i, column in enumerate(table.columns)
    ]


def _least(table: Table) -> list[int]:
    """How narrow each column may be: numbers stay whole, words wrap."""
    found = []
    for i, column in enumerate(table.columns):
        cells = [row.cells[i] for row in table.rows]
        words = [word for text in (column.name, column.below) for word in text.split()]
        if column.role != "value":
            words += [word[:LONGEST] for cell in cells for word in cell.split()]
            cells = []
        found.append(max(map(len, (*cells, *words)), default=0))
    return found


def widths(table: Table, *, width: int) -> list[int] | None:
    """The widths of the columns, the widest words wrapped until all fit; `None` where numbers would be cut.

    Args:
        table: what is shown.
        width: of the terminal, in columns.

    Returns:
        A width for each column, one blank between two of them.
    """
    found, least = _natural(table), _least(table)
    while sum(found) + len(found) - 1 > width:
        spare = [i for i in range(len(found)) if found[i] > least[i]]
        if not spare:
            return None
        found[max(spare, key=lambda i: found[i])] -= 1
    return found


_JOINTS = re.compile(r"(?<=[_-])(?=\w)|(?=\()")


def broken(text: str, width: int) -> str:
    """A label whose words are too long for a column, broken where their parts join.

    >>> broken("noise_injection(clip)", 20)
    'noise_injection\\n(clip)'
    >>> broken("noise_injection", 14), broken("irs", 14)
    ('noise_\\ninjection', 'irs')
    """
    words = []
    for word in text.split(" "):
        lines = [""]
        for part in _JOINTS.split(word) if len(word) > width else [word]:
            if lines[-1] and len(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
        words.append("\n".join(lines))
    return " ".join(words)


def rich_table(table: Table, *, width: int = 80) -> rich.table.Table:
    """The table for rich, leading cells that repeat left blank; blocks of lines where it is too narrow."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    whole, table = table, fitted(table, width=width)
    each = widths(table, width=width)
    if each is None:
        return _blocks(whole)
    title = Text(table.title, style="bold")
    drawn = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    # The box draws one blank between columns already.
    roomy = sum(each) + _GAP * (len(each) - 1) <= width
    drawn.padding, drawn.pad_edge, drawn.show_edge = (0, _GAP - 1 if roomy else 0, 0, 0), False, False
    for column, wide in zip(table.columns, each, strict=True):
        name = Text.assemble(column.name, *([("\n" + column.below, "dim")] if column.below else []))
        justify: Literal["left", "right"] = "right" if column.role == "value" else "left"
        drawn.add_column(name, justify=justify, overflow="fold", min_width=wide, max_width=wide)
    before = None
    for index, row in enumerate(table.rows):
        if table.begins(index):
            drawn.add_section()
        blank = [table.repeats(i, before, row) for i in range(len(row.cells))]
        cells = zip(row.cells, blank, each, strict=True)
        drawn.add_row(*(Text("" if gone else broken(cell, wide)) for cell, gone, wide in cells))
        before = row
    return drawn


def _blocks(table: Table) -> rich.table.Table:
    """A name and a value a line, a blank line between rows: what a narrow terminal or a phone can show."""
    from rich.table import Table as RichTable
    from rich.text import Text

    table = table.without("brief")
    drawn = RichTable.grid(padding=(0, 1), pad_edge=False)
    drawn.title, drawn.title_justify, drawn.title_style = Text(table.title, style="bold"), "left", "bold"
    drawn.add_column(overflow="fold", style="dim")
    drawn.add_column(overflow="fold")
    for index, row in enumerate(table.rows):
        if index:
            drawn.add_row("", "")
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell:
                below = f" ({column.below})" if column.below else ""
                drawn.add_row(Text(f"{column.name}{below}"), Text(cell))
    return drawn
