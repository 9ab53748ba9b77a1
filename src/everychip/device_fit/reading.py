"""Reading the measurements: every number checked, every mistake reported with its line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from everychip.device_fit.columns import NAMES, NUMBERS, Columns, read_columns
from everychip.device_fit.numbers import bad_rows, numbers, reasons
from everychip.device_fit.units import (
    MICROSIEMENS,
    in_micro_siemens,
    known,
    micro_siemens,
    refuse_other_units,
    voltage_for,
)
from everychip.errors import DataError


@dataclass(frozen=True)
class Measurements:
    """What a file says, row by row: conductances as fractions of G_max, which stands in µS.

    deviation: measured less target. time: in seconds. die, device, cycle: numbers that stand for the file's
    names, or None where it has no such column. ignored: the columns that nobody requested. notes: what was
    left out of the file, in words.
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
    notes: tuple[str, ...] = ()

    def where(self, kept: Bool[np.ndarray, " rows"]) -> Measurements:
        """Some of the rows, at the same G_max.

        Args:
            kept: which rows stay.

        Returns:
            The measurements without the others.
        """
        every = {name: getattr(self, name) for name in ("target", "deviation", *_ROW_BY_ROW)}
        held: dict[str, Any] = {name: None if one is None else one[kept] for name, one in every.items()}
        return replace(self, **held)


_ROW_BY_ROW = ("time", "die", "device", "cycle")


def read_csv(
    path: str | Path,
    *,
    unit: str,
    measured_unit: str | None = None,
    read_voltage: float | None = None,
    g_max: float | None = None,
    columns: Mapping[str, str] | None = None,
    decimal: str | None = None,
    skip_invalid: bool = False,
) -> Measurements:
    """Read columns target and measured, and time (s), die, device and cycle where there are such.

    Args:
        path: a table of commas, semicolons or tabs in UTF-8, UTF-16 or Windows-1252; lines that begin with
            #, % or // are comments.
        unit: of target and measured: S, mS, uS, nS; Ohm, kOhm, MOhm, GOhm; A, mA, uA, nA, pA.
        measured_unit: of measured, where it has another one.
        read_voltage: in V; what currents are divided by.
        g_max: G_max in that unit, in µS where it is not one of conductance; the largest target if absent.
        columns: the file's own names, by the ones above: {"measured": "I_nA"}.
        decimal: the decimal mark, "," or "."; absent, the one that the file has, where that is plain.
        skip_invalid: leave out and count rows with a cell that is no number (OVERFLOW, empty).

    Returns:
        The rows, as fractions of G_max.
    """
    path = Path(path)
    units = {"target": known(unit), "measured": known(measured_unit or unit, "--measured-unit")}
    voltage = voltage_for(list(units.values()), read_voltage)
    table = read_columns(path, units, dict(columns or {}), skip_short=skip_invalid)
    values, lines, skipped = _numbers(path, table, units, voltage, decimal, skip_invalid=skip_invalid)
    common = units["target"] if set(units.values()) <= {units["target"]} & set(MICROSIEMENS) else "uS"
    top = _top(path, common, values["target"], values["measured"], lines, g_max)
    time = values.get("time")
    if time is not None and (time < 0).any():
        line = lines[int(np.argmax(time < 0))]
        raise DataError(f"{path.name}:{line}", found="a negative time", expected="seconds since programming")
    kept = np.isin(table.lines, lines)
    names = {name: np.array(table.texts[name])[kept] for name in NAMES if name in table.texts}
    return Measurements(
        source=path.name,
        g_max=top * micro_siemens(common),
        target=values["target"] / top,
        deviation=(values["measured"] - values["target"]) / top,
        time=time,
        **{name: _codes(names.get(name)) for name in ("die", "device", "cycle")},
        ignored=table.ignored,
        notes=(*table.notes, *skipped),
    )


def _numbers(
    path: Path,
    table: Columns,
    units: Mapping[str, str],
    voltage: float,
    decimal: str | None,
    *,
    skip_invalid: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[str, ...]]:
    """The numeric columns, conductances in one unit; the line of every row; what was left out, in words."""
    texts = {name: table.texts[name] for name in NUMBERS if name in table.texts}
    read = numbers(path.name, texts, decimal)
    if len(set(units.values())) > 1 or units["target"] not in MICROSIEMENS:
        read |= {name: in_micro_siemens(read[name], unit, voltage) for name, unit in units.items()}
    bad = bad_rows(read)
    cells = [
        (name, texts[name][row], row)
        for row in np.flatnonzero(bad)
        for name in read
        if not _ok(read[name][row])
    ]
    if cells and not skip_invalid:
        name, text, row = cells[0]
        more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
        raise DataError(
            f"{path.name}:{table.lines[row]}",
            found=f"{text[:20] or 'nothing'} in the column {name}",
            expected="a resistance above 0" if units.get(name, "").endswith("Ohm") else "a finite number",
            remedy=f"mend or remove the row{more}, or leave out and count such rows with --skip-invalid",
        )
    if bad.all():
        raise DataError(path.name, found="no row whose cells are all numbers", expected="measurements")
    notes: tuple[str, ...] = ()
    if cells:
        left_out = f"{int(bad.sum())} of {bad.size} rows left out ({reasons(text for _, text, _ in cells)})"
        notes = (
            f"{left_out}: if these cells are out of the instrument's range, σ is larger than this fit's",
        )
    return {name: column[~bad] for name, column in read.items()}, table.lines[~bad], notes


def _ok(value: float) -> bool:
    return math.isfinite(value)


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


def _codes(cells: np.ndarray | None) -> np.ndarray | None:
    return None if cells is None else np.unique(cells, return_inverse=True)[1]
