"""What a report is made of: sections of text, tables and figures, which three renderers know how to show.

Text may hold `code` in backticks and **strong** words, as in Markdown, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Column:
    """One column of a table.

    A `context` column leads, and goes where it says the same in every row; a `key` column names the row;
    a `value` column is a number; a `remark` is in words, and `brief` is what stands for it on a narrow page.
    What is `minor` gives way on a narrow page.
    """

    name: str
    role: Literal["context", "key", "value", "remark", "brief"] = "value"
    below: str = ""
    minor: bool = False


@dataclass(frozen=True)
class Row:
    """The cells of one row, the method it speaks of (for its colour), and what it shows, if it compares."""

    cells: tuple[str, ...]
    method: str = ""
    shows: Literal["", "better", "worse", "none"] = ""


@dataclass(frozen=True)
class Table:
    """A table, its caption and the notes below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def without_constants(self) -> Table:
        """The table without the context columns that say the same in every row.

        >>> columns = (Column("model", role="context"), Column("mean"))
        >>> table = Table("t", columns, (Row(("lenet", "97.1")), Row(("lenet", "96.2"))))
        >>> [column.name for column in table.without_constants().columns]
        ['mean']
        """
        keep = [
            index
            for index, column in enumerate(self.columns)
            if column.role != "context" or len({row.cells[index] for row in self.rows}) > 1
        ]
        return self.only(keep)

    def roomier(self, minor: str) -> Table:
        """The table in which a column gives way on a narrow page, where context columns need the room.

        Args:
            minor: the column's name.

        >>> table = Table("t", (Column("model", role="context"), Column("noise"), Column("mean")), ())
        >>> [column.name for column in table.roomier("noise").columns if column.minor]
        ['noise']
        """
        if not any(column.role == "context" for column in self.columns):
            return self
        columns = (replace(one, minor=one.minor or one.name == minor) for one in self.columns)
        return replace(self, columns=tuple(columns))

    def lead(self, row: Row) -> tuple[str, ...]:
        """The context cells of a row: rows that share them belong together."""
        return tuple(c for c, column in zip(row.cells, self.columns, strict=True) if column.role == "context")

    def begins(self, index: int) -> bool:
        """Whether a row other than the first begins a new context."""
        return index > 0 and self.lead(self.rows[index]) != self.lead(self.rows[index - 1])

    def repeats(self, column: int, before: Row | None, row: Row) -> bool:
        """Whether a context cell, and all that lead it, say what they said in the row before."""
        same = before is not None and before.cells[: column + 1] == row.cells[: column + 1]
        return same and self.columns[column].role == "context"

    def without_empty(self) -> Table:
        """The table without the value columns in which no row says anything."""
        keep = [
            index
            for index, column in enumerate(self.columns)
            if column.role in ("context", "key") or any(row.cells[index] for row in self.rows)
        ]
        return self.only(keep)

    def without(self, role: str) -> Table:
        """The table without the columns of one role."""
        return self.only([index for index, column in enumerate(self.columns) if column.role != role])

    def only(self, keep: list[int]) -> Table:
        """The table with these columns, in this order."""
        return Table(
            title=self.title,
            columns=tuple(self.columns[index] for index in keep),
            rows=tuple(replace(row, cells=tuple(row.cells[index] for index in keep)) for row in self.rows),
            notes=self.notes,
        )


@dataclass(frozen=True)
class Text:
    """A paragraph, or a list of short ones."""

    paragraphs: tuple[str, ...]
    style: Literal["prose", "list", "lead", "warning"] = "prose"


@dataclass(frozen=True)
class Panel:
    """One chart: its title and its Vega-Lite specification, which holds its data."""

    title: str
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """Charts that share a legend, a caption and a file name."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    methods: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Yields:
    """The share of chips that reach a target, for every target that a slider may choose.

    `targets` ascend, `labels` are their words and `chosen` is the place of the one that stands there first;
    `rows` hold a method, or a method and where, and its share in words at every target.
    """

    title: str
    score: str
    targets: tuple[float, ...]
    labels: tuple[str, ...]
    chosen: int
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Details:
    """Something long, folded away: a table or verbatim text."""

    summary: str
    content: Table | Text | str


Block = Text | Table | Figure | Yields | Details


@dataclass(frozen=True)
class Section:
    """A part of the report; `order` is its place, `name` its anchor. No title: it leads the page."""

    name: str
    order: int
    title: str
    blocks: tuple[Block, ...]
