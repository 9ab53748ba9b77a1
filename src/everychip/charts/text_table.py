"""Tables as plain text of a fixed width, for `print` and for pipes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class TextColumn(NamedTuple):
    """A column: its head, how many characters it takes, and whether its texts stand to the right."""

    head: str
    width: int
    right: bool = False


RULE = "─" * 79


def text_table(fields: Sequence[TextColumn], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, its head first; a text that is longer than its column ends in an ellipsis.

    Args:
        fields: the columns.
        rows: a text for each column.

    Returns:
        Lines without a line break, one space between columns.

    >>> text_table([TextColumn("layer", 8), TextColumn("σ", 6, right=True)], [("encoder.0", "0.31")])
    ['layer         σ', 'encoder…   0.31']
    """
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for field in fields:
        table.add_column(
            field.head,
            justify="right" if field.right else "left",
            width=field.width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    width = sum(field.width + 1 for field in fields)
    # In a notebook rich would show the table instead of writing it, did force_jupyter not say no.
    console = Console(
        file=StringIO(), width=width, color_system=None, legacy_windows=False, force_jupyter=False
    )
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def fitted(text: str, width: int) -> str:
    """A name in a column, its beginning left out where it is too long: the end tells layers apart.

    Args:
        text: the name.
        width: of the column.

    Returns:
        At most so many characters.

    >>> fitted("encoder.layers.11.self_attn", 15)
    '…s.11.self_attn'
    """
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
