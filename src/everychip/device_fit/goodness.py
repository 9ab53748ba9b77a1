"""How well a law fits: chi-squared of its levels, R² of σ², and whether the residuals are normal."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from pydantic.dataclasses import dataclass

from everychip.config.columns import VALUES


@dataclass(frozen=True, config=VALUES)
class ChiSquared:
    """A sum of squared residuals, in standard errors, and its degrees of freedom."""

    value: float
    freedom: int

    @property
    def p(self) -> float:
        """The probability of a larger value if the law is true."""
        from scipy.stats import chi2

        return float(chi2.sf(self.value, self.freedom)) if self.freedom > 0 else math.nan


@dataclass(frozen=True, config=VALUES)
class Normality:
    """D'Agostino and Pearson's K² of the standardised residuals, with what they test: skewness and tails."""

    statistic: float
    p: float
    skewness: float
    excess_kurtosis: float
    rows: int


@dataclass(frozen=True, config=VALUES)
class Goodness:
    """The fit of one time; what too few levels leave open is None."""

    sigma: ChiSquared | None
    bias: ChiSquared | None
    r2: float | None
    normality: Normality | None


def chi_squared(
    found: Float[np.ndarray, " levels"],
    expected: Float[np.ndarray, " levels"],
    error: Float[np.ndarray, " levels"],
    *,
    parameters: int = 0,
) -> ChiSquared | None:
    """Σ ((found − expected) / error)², or None where nothing is left to judge by.

    >>> chi_squared(np.array([1.0, 2.0]), np.array([1.5, 2.0]), np.array([0.5, 0.5])).value
    1.0
    """
    known = error > 0
    freedom = int(known.sum()) - parameters
    if freedom < 1:
        return None
    residuals = (found[known] - expected[known]) / error[known]
    return ChiSquared(float((residuals**2).sum()), freedom)


def r_squared(found: Float[np.ndarray, " levels"], expected: Float[np.ndarray, " levels"]) -> float | None:
    """The share of the variation between levels that the law explains, 1 − Σ(y − ŷ)² / Σ(y − ȳ)².

    >>> r_squared(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    1.0
    """
    spread = float(((found - found.mean()) ** 2).sum()) if found.size > 1 else 0.0
    return 1 - float(((found - expected) ** 2).sum()) / spread if spread > 0 else None


def from_neighbours(
    g: Float[np.ndarray, " levels"], y: Float[np.ndarray, " levels"], error: Float[np.ndarray, " levels"]
) -> tuple[Float[np.ndarray, " inner"], Float[np.ndarray, " inner"]]:
    """What the two neighbours of every inner level make of it by interpolation, and the error of difference.

    >>> from_neighbours(np.array([0.0, 0.5, 1.0]), np.array([1.0, 9.0, 3.0]), np.zeros(3))[0]
    array([2.])
    """
    share = (g[1:-1] - g[:-2]) / (g[2:] - g[:-2])
    expected = (1 - share) * y[:-2] + share * y[2:]
    variance = ((1 - share) * error[:-2]) ** 2 + (share * error[2:]) ** 2 + error[1:-1] ** 2
    return expected, np.sqrt(variance)


def normality(z: Float[np.ndarray, " rows"]) -> Normality | None:
    """Whether standardised residuals are normal, or None with fewer than twenty of them."""
    from scipy.stats import kurtosis, normaltest, skew

    if z.size < 20 or float(z.std()) == 0:
        return None
    test = normaltest(z)
    return Normality(float(test.statistic), float(test.pvalue), float(skew(z)), float(kurtosis(z)), z.size)


def residuals(
    deviation: Float[np.ndarray, " rows"],
    *,
    bias: Float[np.ndarray, " rows"],
    sigma: Float[np.ndarray, " rows"],
    die: Int[np.ndarray, " rows"] | None = None,
    device: Int[np.ndarray, " rows"] | None = None,
) -> tuple[Float[np.ndarray, " kept"], Int[np.ndarray, " kept"]]:
    """(deviation − bias) / σ, and which rows they are of; those with σ = 0 are left out.

    die: the die and level of every row where dies have a part of their own; its mean stands for the bias.
    device: the device and level of every row where devices were cycled; the first cycle of each counts, so
    that residuals are independent.

    >>> residuals(np.array([0.3, 0.1]), bias=np.array([0.1, 0.1]), sigma=np.array([0.1, 0.0]))[0].round(6)
    array([2.])
    """
    centre, scale = bias, np.ones_like(deviation)
    if die is not None:
        counts = np.bincount(die)
        centre = (np.bincount(die, weights=deviation) / counts)[die]
        scale = np.sqrt(1 - 1 / np.maximum(counts, 2))[die]
    kept = sigma > 0
    if device is not None:
        first = np.zeros_like(kept)
        first[np.unique(device, return_index=True)[1]] = True
        kept &= first
    return ((deviation - centre)[kept] / (sigma * scale)[kept]), np.flatnonzero(kept)
