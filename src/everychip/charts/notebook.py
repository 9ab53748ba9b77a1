"""How a value looks in a notebook: a small HTML table and the sentences below it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Shown:
    """A value whose text is its table: a prompt shows one line of it, and a notebook all of it.

    `_brief` is that line; absent, the first line of the text.

    >>> class Answer(Shown):
    ...     def __str__(self) -> str:
    ...         return "yes\\n<why>"
    >>> Answer(), Answer()._repr_html_()
    (Answer(yes), '<pre>yes\\n&lt;why&gt;</pre>')
    """

    def _brief(self) -> str:
        return str(self).partition("\n")[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._brief()})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


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
