"""How a value looks in a notebook: a small HTML table and the sentences below it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def html_table(rows: Iterable[tuple[str, str]], notes: Iterable[str] = ()) -> str:
    """A table of names and values with notes below it; every text is escaped.

    Args:
        rows: a name and its value, one pair a row.
        notes: sentences below the table.

    Returns:
        HTML that inherits fonts and colours from the page around it.

    >>> html_table([("worst", "<90 %")])
    '<table><tr><th style="text-align:left">worst</th><td>&lt;90 %</td></tr></table>'
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>" + "".join(f"<p>{escape(note)}</p>" for note in notes)
