"""The text of a CSV as instruments and spreadsheets write it: encoding, comments, header, rows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from everychip.errors import DataError

COMMENTS = ("#", "%", "//")
"""A line that begins with one of these is a comment."""
_SOUGHT = 50
"""A header is among so many first lines."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

IsHead = Callable[[list[str]], bool]


@dataclass(frozen=True)
class Sheet:
    """A header and rows of text with the line of each; notes: what was left out, in words."""

    head: list[str]
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...]


def read_sheet(path: Path, is_head: IsHead) -> Sheet:
    """Read a table of commas, semicolons or tabs, in UTF-8, UTF-16 or, failing these, Windows-1252.

    Comment lines are left out and counted, and so is what stands above the first line that `is_head`
    recognises; where none is recognised, the first line is the header. A header may be a comment itself, as
    numpy.savetxt writes it.
    """
    kept, comments = _without_comments(_text(path))
    if not kept:
        raise DataError(str(path), found="comments and no rows", expected="a CSV file with a header")
    first = next((place for place, (_, line) in enumerate(kept[:_SOUGHT]) if is_head(_split(line))), None)
    commented = next((line for line in reversed(comments) if first is None and is_head(_split(line))), None)
    delimiter = _delimiter(commented or kept[first or 0][1])
    rows, lines = _rows(path, kept[first or 0 :], delimiter)
    if commented is not None:
        return Sheet(_split(commented), rows, lines, _notes(len(comments) - 1, 0))
    return Sheet(rows[0], rows[1:], lines[1:], _notes(len(comments), first or 0))


def _notes(comments: int, above: int) -> tuple[str, ...]:
    counted = (("comment line", comments), ("line above the header", above))
    return tuple(
        f"{count} {name.replace('line', 'lines') if count > 1 else name} left out"
        for name, count in counted
        if count
    )


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        found = (error.strerror or "an unreadable file").lower()
        raise DataError(str(path), found=found, expected="a CSV file") from None
    text = _decoded(raw)
    if text is None or any(letter < " " and letter not in "\t\r\n\f" for letter in set(text)):
        raise DataError(str(path), found="bytes that are no text", expected="a CSV file")
    if not text.strip():
        raise DataError(str(path), found="an empty file", expected="a CSV file with a header")
    return text


def _decoded(raw: bytes) -> str | None:
    """The text: what spreadsheets call Unicode text is UTF-16; older Windows programs write µ as one byte."""
    for encoding in _encodings(raw):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _encodings(raw: bytes) -> tuple[str, ...]:
    """What the bytes may be. In UTF-16 every second byte of a number is 0, whether or not a mark says so."""
    if raw.startswith(_UTF_16):
        return ("utf-16",)
    zeros = [2 * raw[first::2].count(0) / len(raw) if raw else 0.0 for first in (0, 1)]
    if min(zeros) < 0.1 and max(zeros) > 0.5:
        return ("utf-16-le",) if zeros[1] > zeros[0] else ("utf-16-be",)
    return ("utf-8-sig", "cp1252")


def _without_comments(text: str) -> tuple[list[tuple[int, str]], list[str]]:
    """The lines that say something with their numbers, and the comments without their mark."""
    kept, comments = [], []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        mark = next((one for one in COMMENTS if line.lstrip().startswith(one)), None)
        if mark is not None:
            comments.append(line.lstrip().removeprefix(mark).strip())
        elif line.strip():
            kept.append((number, line))
    return kept, comments


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _split(line: str) -> list[str]:
    """The cells of one line that may be a header."""
    return next(csv.reader([line], delimiter=_delimiter(line)), [])


def _rows(path: Path, kept: list[tuple[int, str]], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The rows that are not blank, and the line on which each ends."""
    reader = csv.reader((line + "\n" for _, line in kept), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(kept[reader.line_num - 1][0])
    except csv.Error as error:
        place = f"{path.name}:{kept[min(reader.line_num, len(kept)) - 1][0]}"
        raise DataError(place, found=f"a line CSV cannot read ({error})", expected="a CSV file") from None
    return rows, lines
