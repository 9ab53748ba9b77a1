"""Units of conductance, and numbers that betray that they are in another one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from everychip.errors import ConfigError, DataError, known_names

MICROSIEMENS = {"S": 1e6, "mS": 1e3, "uS": 1.0, "nS": 1e-3}
"""What one of each unit is in µS."""
_INVERT = "which is a resistance: write the conductances 1/R into the file (1/kΩ = mS, 1/MΩ = µS)"
_DIVIDE = "which is a current: write the conductances I/V of the read voltage V into the file (nA/V = nS)"
OTHERS = {
    **dict.fromkeys(("Ohm", "ohm", "Ω", "kOhm", "kohm", "kΩ", "MOhm", "Mohm", "MΩ"), _INVERT),
    **dict.fromkeys(("A", "mA", "uA", "nA", "pA"), _DIVIDE),
}
"""Units of what is not a conductance, and how to make one of it."""
LEAST, MOST = 1e-3, 1e6
"""Between these, in µS, the G_max of a memory cell is believed."""
_TINY = 1e-5  # a target below this share of the largest one is in another unit
_DECADES = 2.5  # between targets and measurements: no cell misses by a factor of 300


def micro_siemens(unit: str) -> float:
    """How many µS one of the unit is.

    >>> micro_siemens("mS"), micro_siemens("µS")
    (1000.0, 1.0)
    """
    name = plain(unit)
    if name in OTHERS:
        raise ConfigError("--unit", found=f"{unit}, {OTHERS[name]}", expected="S, mS, uS or nS")
    if name not in MICROSIEMENS:
        raise ConfigError("--unit", found=f"unknown unit {unit!r}", remedy=known_names(name, MICROSIEMENS))
    return MICROSIEMENS[name]


def plain(unit: str) -> str:
    """The unit with an ASCII u: uS for µS, whichever of the two Greek letters it has."""
    return unit.strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")


def refuse_other_units(
    name: str,
    unit: str,
    target: Float[np.ndarray, " rows"],
    measured: Float[np.ndarray, " rows"],
    lines: Int[np.ndarray, " rows"],
) -> None:
    """Refuse conductances that cannot be in the unit, or not all of them."""
    top = float(target.max(initial=0.0))
    if top <= 0:
        raise DataError(name, found="no target above 0", expected="conductances up to G_max")
    mixed = np.flatnonzero((target > 0) & (target < _TINY * top))
    if mixed.size:
        line = lines[mixed[0]]
        found = f"a target of {target[mixed[0]]:g} beside one of {top:g}, as if units were mixed (S and µS?)"
        raise DataError(f"{name}:{line}", found=found, expected=f"every conductance in {unit}")
    _refuse_two_columns_of_two_units(name, unit, target, measured, lines)
    in_micro = top * micro_siemens(unit)
    if not LEAST <= in_micro <= MOST:
        raise DataError(
            name,
            found=f"a largest target of {top:g} {unit}",
            expected=f"between {LEAST / micro_siemens(unit):g} and {MOST / micro_siemens(unit):g} {unit}",
            remedy=f"give the unit that the file is in: --unit {_likely(top)}",
        )


def _refuse_two_columns_of_two_units(
    name: str, unit: str, target: np.ndarray, measured: np.ndarray, lines: np.ndarray
) -> None:
    both = np.flatnonzero((target > 0) & (measured != 0))
    decades = np.log10(np.abs(measured[both]) / target[both])
    high = target[both] >= 0.1 * target.max()
    middle = float(np.median(decades[high])) if high.any() else 0.0
    if abs(middle) > _DECADES:
        found = f"measured values of 10^{middle:.0f} times their targets, as if units were mixed"
        raise DataError(name, found=found, expected=f"both columns in {unit}")
    odd = both[np.abs(np.abs(decades) - 6) < 0.3]  # a factor of a million: S beside µS
    if odd.size:
        row = odd[0]
        found = (
            f"{measured[row]:g} measured at a target of {target[row]:g}, as if units were mixed (S and µS?)"
        )
        raise DataError(f"{name}:{lines[row]}", found=found, expected=f"every conductance in {unit}")


def _likely(top: float) -> str:
    """The unit in which a largest conductance is that of an ordinary cell: nearest to 30 µS."""
    return min(MICROSIEMENS, key=lambda unit: abs(float(np.log10(top * MICROSIEMENS[unit] / 30))))
