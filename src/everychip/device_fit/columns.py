"""Which column of a file is which: by its name, or by the one that was given for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from everychip.device_fit.sheet import Sheet, read_sheet
from everychip.device_fit.units import UNITS, plain
from everychip.errors import ConfigError, DataError, known_names

NUMBERS, NAMES = ("target", "measured", "time"), ("die", "device", "cycle", "unit")
_HEADING = re.compile(
    r"(\w+?)(?:[\s_]*[\s_\[(/]\s*(s|[mµμun]?S|[kMG]?(?:[Oo]hms?|[ΩΩ])|[mµμunp]?A)\s*[\])]?)?"
)


@dataclass(frozen=True)
class Columns:
    """The known columns as text, the line of every row, the names of the others, and what was left out."""

    texts: dict[str, list[str]]
    lines: Int[np.ndarray, " rows"]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]


def read_columns(
    path: Path, units: Mapping[str, str], asked: Mapping[str, str], *, skip_short: bool = False
) -> Columns:
    """Read the columns of a file; asked: the file's own names by target, measured, time, …

    units: those of target and measured, which units in the header must not contradict. skip_short: leave out
    and count rows of another length than the header's.
    """
    _refuse_unknown(asked)
    sheet = read_sheet(path, lambda cells: not _missing([_role(cell, asked) for cell in cells]))
    names = [_role(cell, asked) for cell in sheet.head]
    _refuse_names(path, sheet, names, asked)
    for cell, name in zip(sheet.head, names, strict=True):
        _refuse_another_unit_behind(path, name, cell, units)
    rows = [(row, line) for row, line in zip(sheet.rows, sheet.lines, strict=True) if len(row) == len(names)]
    short = len(sheet.rows) - len(rows)
    if short and not skip_short:
        _refuse_short(path, sheet)
    if not rows:
        raise DataError(path.name, found="a header and no rows", expected="one row for each measurement")
    known = {name: place for place, name in enumerate(names) if name in (*NUMBERS, *NAMES)}
    texts = {name: [row[place].strip() for row, _ in rows] for name, place in known.items()}
    _refuse_another_unit(path, texts.get("unit"), units)
    others = tuple(cell.strip() for cell, name in zip(sheet.head, names, strict=True) if name not in known)
    left_out = (f"{short} of {len(sheet.rows)} rows left out (another length than the header's)",)
    notes = (*sheet.notes, *(left_out if short else ()))
    return Columns(texts, np.array([line for _, line in rows]), others, notes)


def _refuse_unknown(asked: Mapping[str, str]) -> None:
    for name in asked:
        if name not in (*NUMBERS, *NAMES):
            remedy = known_names(name, (*NUMBERS, *NAMES))
            raise ConfigError("--column", found=f"unknown column {name!r}", remedy=remedy)


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in ("target", "measured") if name not in names]


def _role(cell: str, asked: Mapping[str, str]) -> str:
    """What a column is: its name without the unit that some write behind it, if no other one was given."""
    cell = cell.strip()
    for name, own in asked.items():
        if own.strip() == cell:
            return name
    match = _HEADING.fullmatch(cell)
    name = (match[1] if match else cell).lower()
    return "" if name in asked else name


def _refuse_names(path: Path, sheet: Sheet, names: list[str], asked: Mapping[str, str]) -> None:
    for name in (*NUMBERS, *NAMES):
        if names.count(name) > 1:
            raise DataError(f"{path.name}:1", found=f"two columns called {name}", expected="one")
    shown = ", ".join(cell.strip()[:20] for cell in sheet.head[:8])
    for name, own in asked.items():
        if name not in names:
            remedy = "write it as the header has it"
            raise DataError(path.name, found=f"no column {own} among: {shown}", expected=name, remedy=remedy)
    missing = _missing(names)
    if missing:
        first = sheet.head[0].strip().lstrip("+-")[:1]
        remedy = f"name the file's own: --column {missing[0]}=NAME"
        raise DataError(
            path.name,
            found=f"no column {' and no column '.join(missing)} among: {shown}",
            expected="columns target and measured, and time, die, device, cycle where there are such",
            remedy="the first line names the columns" if first.isdigit() else remedy,
        )


def _refuse_another_unit_behind(path: Path, name: str, cell: str, units: Mapping[str, str]) -> None:
    match = _HEADING.fullmatch(cell.strip())
    behind = plain(match[2] or "") if match else ""
    if name in units and behind and behind != units[name]:
        option = "--measured-unit" if name == "measured" else "--unit"
        remedy = f"{option} {behind}" if behind in UNITS else None
        raise DataError(f"{path.name}:1", found=f"{name} in {behind}", expected=units[name], remedy=remedy)


def _refuse_short(path: Path, sheet: Sheet) -> None:
    length = len(sheet.head)
    row, line = next(
        (row, line) for row, line in zip(sheet.rows, sheet.lines, strict=True) if len(row) != length
    )
    raise DataError(
        f"{path.name}:{line}",
        found=f"{len(row)} value{'s' * (len(row) != 1)}",
        expected=f"{length}, as the header has",
    )


def _refuse_another_unit(path: Path, column: Sequence[str] | None, units: Mapping[str, str]) -> None:
    found, unit = sorted({plain(text) for text in column or ()}), units["target"]
    if len(found) > 1:
        words = f"mixed units in the column unit: {', '.join(found[:4])}"
        raise DataError(path.name, found=words, expected=f"{unit} in every row")
    if found and found[0] != unit:
        remedy = f"--unit {found[0]}"
        raise DataError(path.name, found=f"{found[0]} in the column unit", expected=unit, remedy=remedy)
