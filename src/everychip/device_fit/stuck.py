"""Stuck cells: measurements that stand at one end of the range, whatever was written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from everychip.device_fit.reading import Measurements
from everychip.device_fit.structure import levels_of
from everychip.devices import StuckAt
from everychip.errors import DataError

FAR = 6.0
"""So many robust σ from its level's median, no measurement of a normal law stands (one in 10⁹ does)."""
LEAST = 3
"""Fewer rows than this at one end are not suspected: outliers may stand anywhere."""
_MAD = 1.4826  # of a normal law, σ over the median absolute deviation


@dataclass(frozen=True)
class Stuck:
    """The rows that stand at one end while another conductance was written.

    low, high: the rows that stand at the lowest and the highest level. p_low, p_high: their shares among the
    rows of the levels whose spread does not reach that end: at the end itself, a stuck cell cannot be told
    from a good one. at: the median conductance of the low ones, in units of G_max.
    """

    low: Bool[np.ndarray, " rows"]
    high: Bool[np.ndarray, " rows"]
    p_low: float
    p_high: float
    at: float

    @property
    def rows(self) -> Bool[np.ndarray, " rows"]:
        """All of them."""
        both: Bool[np.ndarray, " rows"] = self.low | self.high
        return both

    @property
    def any(self) -> bool:
        """Whether there are such rows."""
        return bool(self.rows.any())

    def device(self) -> StuckAt:
        """The cells as a device, to come last in a sequence."""
        low, high, at = (float(f"{value:.3g}") for value in (self.p_low, self.p_high, self.at))
        return StuckAt(p0=low, p1=high, g_min=min(max(at, 0.0), 1.0))

    def words(self) -> str:
        """How many, and where."""
        ends = (("G_min", self.low, self.p_low), ("G_max", self.high, self.p_high))
        said = [f"{int(rows.sum())} at {name} ({100 * p:.2g} %)" for name, rows, p in ends if rows.any()]
        return " and ".join(said)


def suspected(m: Measurements, bins: int | None = None) -> Stuck:
    """The rows that look stuck.

    A row is suspected whose measured conductance is `FAR` robust σ from the median of its level (σ from the
    median absolute deviation), and within as much of the median of the lowest or highest level, or past it.

    Args:
        m: the measurements.
        bins: levels are so many bins, as for `fit`.

    Returns:
        The rows and their shares; none where no level can tell.

    >>> target = np.repeat([0.0, 0.5, 1.0], 20)
    >>> deviation = np.tile([-0.01, 0.01], 30); deviation[20:24] = -0.5
    >>> found = suspected(Measurements("a.csv", 25.0, target, deviation, None, None, None, None))
    >>> int(found.rows.sum()), found.p_low
    (4, 0.1)
    """
    level = levels_of(m.target, bins)
    if m.time is not None:  # a level of each time is one of its own
        level = np.unique(
            level + (int(level.max()) + 1) * np.unique(m.time, return_inverse=True)[1], return_inverse=True
        )[1]
    measured = m.target + m.deviation
    middle, spread = _by_level(measured, level)
    ends = _ends(m.target, level, middle, spread)
    far = np.abs(measured - middle[level]) > FAR * spread[level]
    found, shares = [], []
    for (value, reach), side in zip(ends, (-1, 1), strict=True):
        told = side * (value - middle) > FAR * spread + reach / FAR  # levels that do not reach the end
        rows = far & told[level] & (side * (measured - value) > -reach)
        rows = rows if rows.sum() >= LEAST else np.zeros_like(rows)
        found.append(rows)
        shares.append(float(rows.sum() / max(int(told[level].sum()), 1)))
    at = float(np.median(measured[found[0]])) if found[0].any() else 0.0
    return Stuck(found[0], found[1], shares[0], shares[1], at)


def without(m: Measurements, stuck: Stuck) -> Measurements:
    """The measurements without the suspected rows, which must leave some.

    Args:
        m: the measurements.
        stuck: what is suspected of them.

    Returns:
        The other rows.
    """
    if not stuck.any:
        found = "no cell that looks stuck at one end"
        raise DataError(m.source, found=found, expected="some, for --split-stuck")
    return m.where(~stuck.rows)


def _by_level(
    measured: Float[np.ndarray, " rows"], level: np.ndarray
) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " levels"]]:
    """Median and robust σ of every level, no σ below 0.3 times that of most levels, or 0.1 % of G_max."""
    groups = [measured[level == code] for code in range(int(level.max()) + 1)]
    middle = np.array([np.median(group) for group in groups])
    spread = np.array([_MAD * np.median(np.abs(g - m)) for g, m in zip(groups, middle, strict=True)])
    floor = 0.3 * float(np.median(spread)) or 1e-3
    return middle, np.maximum(spread, floor)


def _ends(
    target: np.ndarray, level: np.ndarray, middle: np.ndarray, spread: np.ndarray
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the lowest and the highest levels are, and how far their cells reach."""
    of_level = np.array([target[level == code].mean() for code in range(middle.size)])
    low, high = (np.isclose(of_level, end) for end in (of_level.min(), of_level.max()))
    return tuple((float(np.median(middle[at])), FAR * float(np.max(spread[at]))) for at in (low, high))  # type: ignore[return-value]
