"""Reading the measurements: every number checked, every mistake told by its line."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from everychip.device_fit.units import micro_siemens, plain, refuse_other_units
from everychip.errors import DataError

NUMBERS, NAMES = ("target", "measured", "time"), ("die", "device", "cycle", "unit")
_HEADING = re.compile(r"(\w+?)(?:[\s_]*[\s_\[(]\s*(s|S|mS|uS|µS|μS|nS)\s*[\])]?)?")


@dataclass(frozen=True)
class Measurements:
    """What a file says, row by row: conductances as fractions of G_max, which stands in µS.

    deviation: measured less target. time: in seconds. die, device, cycle: numbers that stand for the file's
    names, or None where it has no such column. ignored: the columns that nobody asked for.
    """

    source: str
    g_max: float
    target: Float[np.ndarray, " rows"]
    deviation: Float[np.ndarray, " rows"]
    time: Float[np.ndarray, " rows"] | None
    die: Int[np.ndarray, " rows"] | None
    device: Int[np.ndarray, " rows"] | None
    cycle: Int[np.ndarray, " rows"] | None
    ignored: tuple[str, ...] = ()


def read_csv(path: str | Path, *, unit: str, g_max: float | None = None) -> Measurements:
    """Read columns target and measured, and time (s), die, device and cycle where there are such.

    unit: of target and measured: S, mS, uS or nS. g_max: G_max in that unit; the largest target if absent.
    """
    path = Path(path)
    scale = micro_siemens(unit)
    columns, lines, ignored = _columns(path, plain(unit))
    numbers = {name: _numbers(path, name, columns[name], lines) for name in NUMBERS if name in columns}
    target, measured = numbers["target"], numbers["measured"]
    top = _top(path, unit, target, measured, lines, g_max)
    time = numbers.get("time")
    if time is not None and (time < 0).any():
        line = lines[int(np.argmax(time < 0))]
        raise DataError(f"{path.name}:{line}", found="a negative time", expected="seconds since programming")
    return Measurements(
        source=path.name,
        g_max=top * scale,
        target=target / top,
        deviation=(measured - target) / top,
        time=time,
        die=_codes(columns.get("die")),
        device=_codes(columns.get("device")),
        cycle=_codes(columns.get("cycle")),
        ignored=ignored,
    )


def _top(
    path: Path, unit: str, target: np.ndarray, measured: np.ndarray, lines: np.ndarray, asked: float | None
) -> float:
    """G_max in the file's unit, once all targets are within 0 … G_max."""
    if asked is not None and not (math.isfinite(asked) and asked > 0):
        raise DataError("--g-max", found=f"{asked:g}", expected=f"a conductance above 0, in {unit}")
    below = np.flatnonzero(target < 0)
    if below.size == 0:
        refuse_other_units(path.name, unit, target, measured, lines)
    top = float(target.max()) if asked is None else asked
    outside = np.flatnonzero((target < 0) | (target > top * (1 + 1e-9)))
    if outside.size:
        row = int(outside[0])
        raise DataError(
            f"{path.name}:{lines[row]}",
            found=f"a target of {target[row]:g} {unit}",
            expected=f"targets within 0 … {top:g} {unit}, which is G_max",
            remedy="negative weights are the mapping's matter" if target[row] < 0 else "raise --g-max",
        )
    return top


def _columns(path: Path, unit: str) -> tuple[dict[str, list[str]], np.ndarray, tuple[str, ...]]:
    """The known columns as text, the line of every row, and the names of the other columns."""
    head, rows, lines = _table(path)
    names = [_name(path, cell, unit) for cell in head]
    for name in (*NUMBERS, *NAMES):
        if names.count(name) > 1:
            raise DataError(f"{path.name}:1", found=f"two columns called {name}", expected="one")
    missing = [name for name in ("target", "measured") if name not in names]
    if missing:
        shown = ", ".join(cell.strip()[:20] for cell in head[:6])
        remedy = "the first line names the columns" if _is_number(head[0]) else None
        raise DataError(
            path.name,
            found=f"no column {' and no column '.join(missing)} among: {shown}",
            expected="columns target and measured, and time, die, device, cycle where there are such",
            remedy=remedy,
        )
    if not rows:
        raise DataError(path.name, found="a header and no rows", expected="one row for each measurement")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(head):
            expected = f"{len(head)}, as the header has"
            found = f"{len(row)} value{'s' * (len(row) != 1)}"
            raise DataError(f"{path.name}:{line}", found=found, expected=expected)
    known = {name: place for place, name in enumerate(names) if name in (*NUMBERS, *NAMES)}
    columns = {name: [row[place].strip() for row in rows] for name, place in known.items()}
    _refuse_another_unit(path, columns.get("unit"), unit)
    ignored = tuple(cell.strip() for cell, name in zip(head, names, strict=True) if name not in known)
    return columns, np.array(lines), ignored


def _table(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(str(path), found="bytes that are no text", expected="a CSV file") from None
    except OSError as error:
        found = (error.strerror or "an unreadable file").lower()
        raise DataError(str(path), found=found, expected="a CSV file") from None
    if not text.strip():
        raise DataError(str(path), found="an empty file", expected="a CSV file with a header")
    if "\0" in text:
        raise DataError(str(path), found="bytes that are no text", expected="a CSV file")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        place = f"{path.name}:{reader.line_num}"
        raise DataError(place, found=f"a line CSV cannot read ({error})", expected="a CSV file") from None
    return rows[0], rows[1:], lines[1:]


def _name(path: Path, cell: str, unit: str) -> str:
    """The name of a column without the unit that some write behind it, which must be the one asked for."""
    match = _HEADING.fullmatch(cell.strip())
    if match is None:
        return cell.strip().lower()
    name, behind = match[1].lower(), plain(match[2] or "")
    if behind and name in ("target", "measured") and behind != unit:
        remedy = f"--unit {behind}" if behind != "s" else None
        raise DataError(f"{path.name}:1", found=f"{name} in {behind}", expected=f"{unit}", remedy=remedy)
    return name


def _refuse_another_unit(path: Path, units: Sequence[str] | None, unit: str) -> None:
    found = sorted({plain(text) for text in units or ()})
    if len(found) > 1:
        words = f"mixed units in the column unit: {', '.join(found[:4])}"
        raise DataError(path.name, found=words, expected=f"{unit} in every row")
    if found and found[0] != unit:
        remedy = f"--unit {found[0]}"
        raise DataError(path.name, found=f"{found[0]} in the column unit", expected=unit, remedy=remedy)


def _numbers(path: Path, name: str, cells: Sequence[str], lines: np.ndarray) -> np.ndarray:
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([float(cell) if _is_number(cell) else math.nan for cell in cells])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        shown = cells[bad[0]][:20] or "nothing"
        raise DataError(
            f"{path.name}:{lines[bad[0]]}",
            found=f"{shown} in the column {name}",
            expected="a finite number",
            remedy=f"mend or remove the row{f' (and {bad.size - 1} more)' if bad.size > 1 else ''}",
        )
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _codes(cells: Sequence[str] | None) -> np.ndarray | None:
    return None if cells is None else np.unique(np.array(cells), return_inverse=True)[1]
