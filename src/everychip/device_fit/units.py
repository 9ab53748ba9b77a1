"""Units of conductance, resistance and current, and numbers that betray that they are in another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from everychip.errors import ConfigError, DataError, known_names

MICROSIEMENS = {"S": 1e6, "mS": 1e3, "uS": 1.0, "nS": 1e-3}
"""What one of each unit is in µS."""
OHM = {"Ohm": 1.0, "kOhm": 1e3, "MOhm": 1e6, "GOhm": 1e9}
"""What one of each unit is in Ω."""
AMPERE = {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "nA": 1e-9, "pA": 1e-12}
"""What one of each unit is in A."""
UNITS = (*MICROSIEMENS, *OHM, *AMPERE)
LEAST, MOST = 1e-3, 1e6
"""Between these, in µS, the G_max of a memory cell is believed."""
_TINY = 1e-5  # a target below this share of the largest one is in another unit
_DECADES = 2.5  # between targets and measurements: no cell misses by a factor of 300


def micro_siemens(unit: str) -> float:
    """How many µS one of the unit of conductance is.

    >>> micro_siemens("mS"), micro_siemens("µS")
    (1000.0, 1.0)
    """
    return MICROSIEMENS[plain(unit)]


def known(unit: str, option: str = "--unit") -> str:
    """The unit with an ASCII name, if it is one of conductance, resistance or current.

    >>> known("µS"), known("kΩ")
    ('uS', 'kOhm')
    """
    name = plain(unit)
    if name not in UNITS:
        raise ConfigError(option, found=f"unknown unit {unit!r}", remedy=known_names(name, UNITS))
    return name


def voltage_for(units: Sequence[str], voltage: float | None) -> float:
    """The read voltage in V that currents are divided by; 1 where there are none."""
    currents = [unit for unit in units if unit in AMPERE]
    if not currents and voltage is not None:
        expected = f"a unit of current, such as --unit nA, or no voltage beside {units[0]}"
        raise ConfigError("--read-voltage", found=f"{voltage:g} V", expected=expected)
    if currents and voltage is None:
        remedy = "G = I/V: give the voltage in V, --read-voltage 0.2"
        raise ConfigError("--unit", found=f"{currents[0]}, which is a current", remedy=remedy)
    if voltage is not None and not (np.isfinite(voltage) and voltage != 0):
        raise ConfigError("--read-voltage", found=f"{voltage:g}", expected="volts, other than 0")
    return 1.0 if voltage is None else voltage


def in_micro_siemens(
    values: Float[np.ndarray, " rows"], unit: str, voltage: float
) -> Float[np.ndarray, " rows"]:
    """Conductances, 1/R of resistances or I/V of currents, in µS; NaN for a resistance that is not above 0.

    >>> in_micro_siemens(np.array([40.0, 0.0]), "kOhm", 1.0), in_micro_siemens(np.array([5.0]), "uA", 0.2)
    (array([25., nan]), array([25.]))
    """
    if unit in OHM:
        ohms = np.where(values > 0, values * OHM[unit], np.nan)
        inverse: np.ndarray = 1e6 / ohms
        return inverse
    return values * (AMPERE[unit] * 1e6 / voltage if unit in AMPERE else MICROSIEMENS[unit])


def plain(unit: str) -> str:
    """The unit in ASCII: uS for µS and kOhm for kΩ, whichever of their Greek letters it has."""
    name = unit.strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    for omega in ("\N{OHM SIGN}", "\N{GREEK CAPITAL LETTER OMEGA}", "ohms", "ohm", "Ohms"):
        name = name.removesuffix(omega) + "Ohm" if name.endswith(omega) else name
    return name


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
        raise DataError(
            name,
            found=found,
            expected=f"both columns in {unit}, or --measured-unit with the measured one's own",
        )
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
