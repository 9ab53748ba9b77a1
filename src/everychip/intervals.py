"""What a sample of chips says about the mean of all: an interval that holds, or none and the reason.

All intervals are two-sided. They speak of new chips (and new training seeds) tested on the same test images;
the choice of those images is not part of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from everychip.errors import DataError, SampleSizeError
from everychip.refusals import must_be

Values = Sequence[float] | Tensor

HEADLINE_SEEDS = 3


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; a bound that the sample cannot give is `None`, and `refusal` says why.

    `over` names what the interval is over ("chips", "chips, one seed", "3 seeds").

    >>> str(Interval(0.873, 0.869, 0.877, over="chips"))
    '87.3 % [86.9, 87.7] (95 % over chips)'
    """

    estimate: float
    low: float | None
    high: float | None
    over: str
    level: float = 0.95
    refusal: str | None = None

    @property
    def half(self) -> float | None:
        """Half the width of the interval, or None where a bound is missing."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def digits(self) -> int:
        """Decimals of a percentage that show this width: one, more where it is below 0.1 or 0.01 points."""
        half = 100 * (self.half or 0.0)
        return 1 if half == 0 or half >= 0.1 else 2 if half >= 0.01 else 3

    def bounds(self, *, scale: float = 100.0, digits: int = 1) -> str:
        """The bounds in brackets, times `scale`; a missing one is a dash."""
        low, high = ("–" if b is None else f"{scale * b:.{digits}f}" for b in (self.low, self.high))
        return f"[{low}, {high}]"

    def __str__(self) -> str:
        return f"{100 * self.estimate:.1f} % {self.bounds()} ({100 * self.level:g} % over {self.over})"


def mean_interval(values: Values, *, level: float = 0.95) -> Interval:
    """The mean and its t interval, x̄ ± t_{n−1}(½ + level/2) · s / √n.

    Values from chips that each saw their own random images need no other formula: their spread already holds
    both the spread of the chips and that of the images.

    Source: Student, Biometrika 6 (1908).

    >>> interval = mean_interval([0.90, 0.92, 0.94])
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.8703, 0.9697)
    """
    x = sample(values, where="mean_interval", least=2)
    return t_interval(
        float(x.mean()), float(x.std()) / math.sqrt(len(x)), len(x) - 1, level=level, over="chips"
    )


def seeds_interval(values_by_seed: Mapping[int, Values], *, level: float = 0.95) -> Interval:
    """The mean over training seeds and its interval, chips nested in seeds: a t interval of the S seed means.

    With seed effects of variance τ² and chips of variance σ² within each seed, the seed means are
    independent, each of variance τ² + σ²/n, so their mean ± t_{S−1} · sd / √S covers exactly for normal
    effects and equal n: both levels of chance are in the spread of the seed means, and S − 1, not the number
    of chips, are its degrees of freedom. With unequal n the variance stays unbiased and the coverage close.
    Chips must be drawn anew for every seed.

    Source: Searle, Casella & McCulloch, Variance Components (1992), §3.4.

    >>> seeds_interval({0: [0.90, 0.92], 1: [0.93, 0.95], 2: [0.89, 0.91]}).over
    '3 seeds'
    """
    count = len(values_by_seed)
    if count < HEADLINE_SEEDS:
        raise SampleSizeError(
            "seeds_interval",
            found=f"{count} training seed{'' if count == 1 else 's'}",
            expected=f"at least {HEADLINE_SEEDS} for a statement about a method",
            remedy="train more seeds, or take chips_interval, which speaks of these trained networks only",
        )
    means = torch.stack([x.mean() for x in _samples(values_by_seed, least=1)])
    error = float(means.std()) / math.sqrt(count)
    return t_interval(float(means.mean()), error, count - 1, level=level, over=f"{count} seeds")


def chips_interval(values_by_seed: Mapping[int, Values], *, level: float = 0.95) -> Interval:
    """The mean over seeds with an interval over chips only, about these trained networks and no method.

    The seeds are strata: the variance is Σ_s s_s² / n_s / S², with Welch–Satterthwaite degrees of freedom.

    Source: Welch, Biometrika 34 (1947); Satterthwaite, Biometrics Bulletin 2 (1946).

    >>> chips_interval({0: [0.90, 0.92, 0.94]}).over
    'chips, one seed'
    """
    samples = _samples(values_by_seed, least=2)
    count = len(samples)
    parts = [float(x.var()) / len(x) / count**2 for x in samples]
    spread = sum(part**2 / (len(x) - 1) for part, x in zip(parts, samples, strict=True))
    freedom = sum(parts) ** 2 / spread if spread > 0 else min(len(x) for x in samples) - 1
    mean = sum(float(x.mean()) for x in samples) / count
    over = "chips, one seed" if count == 1 else f"chips of these {count} seeds"
    return t_interval(mean, math.sqrt(sum(parts)), freedom, level=level, over=over)


def t_interval(estimate: float, error: float, freedom: float, *, level: float, over: str) -> Interval:
    """estimate ± t_freedom(½ + level/2) · error.

    >>> round(t_interval(0.0, 1.0, 10, level=0.95, over="chips").high, 3)
    2.228
    """
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.5 + fraction(level, "level") / 2)) * error
    return Interval(estimate, estimate - half, estimate + half, over=over, level=level)


def sample(values: Values, *, where: str, least: int = 1) -> Tensor:
    """The values as a float64 vector, refused where they are too few, not a list, or not finite."""
    x = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    if x.ndim != 1:
        raise DataError(where, found=f"a tensor {list(x.shape)}", expected="one value per chip")
    if len(x) < least:
        raise SampleSizeError(
            where,
            found=f"{len(x)} value{'' if len(x) == 1 else 's'}",
            expected=f"at least {least}",
            remedy="draw more chips",
        )
    broken = int((~x.isfinite()).sum())
    if broken:
        raise DataError(
            where,
            found=f"{broken} of {len(x)} values that are not finite",
            expected="finite values",
            remedy="chips that overflow have an infinite nll: take their accuracy or Brier score",
        )
    return x


def _samples(values_by_seed: Mapping[int, Values], *, least: int) -> list[Tensor]:
    if not values_by_seed:
        raise SampleSizeError("seeds", found="no seed", expected="at least 1")
    return [sample(x, where=f"seed {seed}", least=least) for seed, x in values_by_seed.items()]


def fraction(value: float, where: str) -> float:
    """The value, refused unless it lies between 0 and 1."""
    must_be(value, where, above=0, below=1, remedy="90 % is 0.9")
    return value
