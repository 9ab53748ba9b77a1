"""Intervals one may look at after every chip, and stop when they are narrow enough: confidence sequences.

A t interval watched until it is narrow misses the mean far more often than it says. These two hold at all
times at once. `Sequential` assumes nothing but values in [0, 1], and pays for it: the rare chip that fails
completely could hide in any small sample, so ±ε takes at least ln(2/α)/(0.75 ε) chips (2 460 for ±0.2 points
at 95 %). `SequentialT` is the sibling of the t interval: it trusts that chips are roughly normal, which a few
chips that fail are not, unless so many were drawn (`least`) that these have shown: 3 / p for a share p.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from everychip.errors import ConfigError, SampleSizeError
from everychip.statistics.intervals import Interval


class Sequential:
    """Empirical-Bernstein confidence sequence of the mean of values in [0, 1].

    With α = 1 − level, µ̂_t = (½ + Σ x_i)/(t+1), σ̂²_t = (¼ + Σ (x_i − µ̂_i)²)/(t+1) and
    λ_t = min(√(2 ln(2/α) / (σ̂²_{t−1} t ln(1+t))), ¾):

        Σ λ_i x_i / Σ λ_i  ±  (ln(2/α) + Σ (x_i − µ̂_{i−1})² (−ln(1−λ_i) − λ_i)) / Σ λ_i

    Source: Waudby-Smith & Ramdas, J. R. Stat. Soc. B 86 (2024), theorem 2.

    >>> watch = Sequential()
    >>> watch.update([0.97, 0.98] * 100)
    >>> watch.reached(0.03), watch.reached(0.002), watch.n
    (True, False, 200)
    """

    _CAP = 0.75

    def __init__(self, *, level: float = 0.95) -> None:
        self.level = _level(level)
        self.n = 0
        self._sum, self._squares = 0.5, 0.25
        self._weights = self._weighted = self._penalty = 0.0

    def update(self, values: Iterable[float]) -> None:
        """Take in further values, in the order in which they were drawn."""
        for x in map(float, values):
            if not 0 <= x <= 1:
                raise ConfigError("Sequential", found=f"the value {x:g}", expected="values in [0, 1]")
            self._add(x)

    def _add(self, x: float) -> None:
        t = self.n + 1
        # Mean, variance and λ are of the values before x: a bet is placed before the coin falls.
        mean, variance = self._sum / t, self._squares / t
        bet = min(math.sqrt(2 * self._odds / (variance * t * math.log1p(t))), self._CAP)
        self._weights += bet
        self._weighted += bet * x
        self._penalty += (x - mean) ** 2 * (-math.log1p(-bet) - bet)
        self.n = t
        self._sum += x
        self._squares += (x - self._sum / (t + 1)) ** 2

    @property
    def _odds(self) -> float:
        return math.log(2 / (1 - self.level))

    @property
    def interval(self) -> Interval:
        """The interval as of now; its estimate is the plain mean."""
        _some(self.n)
        centre, half = self._weighted / self._weights, (self._odds + self._penalty) / self._weights
        low, high = max(centre - half, 0.0), min(centre + half, 1.0)
        return Interval((self._sum - 0.5) / self.n, low, high, over="chips", level=self.level)

    def reached(self, half_width: float) -> bool:
        """Whether the interval is as narrow as ± half_width, a fraction (±0.2 points is 0.002)."""
        return _narrow(self, half_width)


class SequentialT:
    """Confidence sequence of the mean of roughly normal values: the t interval, made watchable.

    The means m whose Bayes factor against N(m, σ²), effect size (µ − m)/σ ~ N(0, g), stays below 1/α:

        t_m² / (n−1)  <  A (K − 1) / (A − K),   A = 1 + n g,  K = (A / α²)^{1/n}

    exact for normal values (Ville's inequality on the scale-invariant likelihood ratio), unbounded at first.
    It is never `reached` before `least` values, since a few equal ones would look like no spread at all: with
    2 % of chips that fail, 20 values give a coverage of 36 to 55 %, 3 / p = 150 or more the nominal one.

    Source: Lai, Sankhyā A 38 (1976); Wang & Ramdas, arXiv 2310.03722 (2023).

    >>> watch = SequentialT()
    >>> watch.update([0.970, 0.974, 0.972, 0.978, 0.968] * 8)
    >>> watch.reached(0.003), watch.n
    (True, 40)
    """

    def __init__(self, *, level: float = 0.95, g: float = 1.0, least: int = 20) -> None:
        self.level = _level(level)
        self.least = least
        if not g > 0:
            raise ConfigError("SequentialT.g", found=f"{g:g}", expected="a variance above 0")
        self.g = g
        self.n = 0
        self._mean = self._squares = 0.0

    def update(self, values: Iterable[float]) -> None:
        """Take in further values, in the order in which they were drawn."""
        for x in map(float, values):
            if not math.isfinite(x):
                raise ConfigError("SequentialT", found=f"the value {x:g}", expected="finite values")
            self.n += 1
            step = x - self._mean
            self._mean += step / self.n
            self._squares += step * (x - self._mean)

    @property
    def interval(self) -> Interval:
        """The interval as of now; without bounds while there are too few values for any."""
        _some(self.n)
        a = 1 + self.n * self.g
        k = (a / (1 - self.level) ** 2) ** (1 / self.n)
        if k >= a:
            words = f"{self.n} chips are too few for a bound that holds under peeking"
            return Interval(self._mean, None, None, over="chips", level=self.level, refusal=words)
        half = math.sqrt(a * (k - 1) / (a - k) * self._squares / self.n)
        return Interval(self._mean, self._mean - half, self._mean + half, over="chips", level=self.level)

    def reached(self, half_width: float) -> bool:
        """Whether the interval is as narrow as ± half_width, a fraction (±0.2 points is 0.002)."""
        return _narrow(self, half_width) and self.n >= self.least


def _narrow(watch: Sequential | SequentialT, half_width: float) -> bool:
    if not half_width > 0:
        raise ConfigError("half_width", found=f"{half_width:g}", expected="a fraction above 0")
    half = watch.interval.half if watch.n else None
    return half is not None and half <= half_width


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ConfigError(
            "level", found=f"{level:g}", expected="a number between 0 and 1", remedy="95 % is 0.95"
        )
    return level


def _some(n: int) -> None:
    if n == 0:
        raise SampleSizeError(
            "interval", found="no value yet", expected="at least 1", remedy="call update first"
        )
