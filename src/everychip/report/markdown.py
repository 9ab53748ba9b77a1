"""The report as Markdown, for a README or a pull request: its text and tables, without its charts."""

from __future__ import annotations

from collections.abc import Sequence

from everychip.report.blocks import Block, Column, Table, Text
from everychip.report.results import Results
from everychip.report.sections import build

IN_MARKDOWN = ("answer", "time", "accuracy", "contrasts", "controls", "treatment", "sensitivity", "training")
"""The sections that a README wants."""


def to_markdown(results: Results, *, target: float | None = None) -> str:
    """The findings as Markdown, ending with a newline."""
    parts = []
    for section in build(results, target=target):
        if section.name not in IN_MARKDOWN:
            continue
        parts += [f"### {section.title}"] if section.title else []
        parts += [text for text in map(_block, section.blocks) if text]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return table(block)
    if isinstance(block, Text):
        prose = block.style == "prose"
        return "\n\n".join(block.paragraphs) if prose else "\n".join(f"- {line}" for line in block.paragraphs)
    return ""


def table(shown: Table) -> str:
    """One table in the pipe syntax of GitHub.

    >>> from everychip.report.blocks import Row
    >>> columns = (Column("method", "key"), Column("mean", below="%"))
    >>> print(table(Table("Accuracy", columns, (Row(("irs", "87.3 ± 0.4")),))))
    **Accuracy**
    <BLANKLINE>
    | method | mean<br>% |
    |---|---:|
    | irs | 87.3 ± 0.4 |
    """
    shown = shown.without("brief")
    lines = [
        _line([_heading(column) for column in shown.columns]),
        "|" + "|".join("---:" if column.role == "value" else "---" for column in shown.columns) + "|",
        *(_line(row.cells) for row in shown.rows),
    ]
    parts = [f"**{shown.title}**"] if shown.title else []
    parts.append("\n".join(lines))
    if shown.notes:
        parts.append("  \n".join(shown.notes))
    return "\n\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _heading(column: Column) -> str:
    return "<br>".join(part for part in (column.name, column.below) if part)
