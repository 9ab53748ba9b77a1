"""What a sample of chips says about the mean of all: an interval that holds, or none and the reason.

All intervals are two-sided. They speak of new chips (and new training seeds) tested on the same test images;
the choice of those images is not part of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from everychip.charts.notebook import Shown
from everychip.config.validation import must_be
from everychip.errors import DataError, SampleSizeError, shown
from everychip.scores import ACCURACY as OF_ACCURACY
from everychip.scores import Score

Values = Sequence[float] | Tensor
Range = tuple[float, float] | None
"""What values cannot leave: accuracies 0 … 1, differences of two −1 … 1."""
ACCURACY, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)

HEADLINE_SEEDS = 3


@dataclass(frozen=True, repr=False)
class Interval(Shown):
    """An estimate and its interval; a bound that the sample cannot give is `None`, and `refusal` says why.

    `over` names what the interval is over ("chips", "chips, one seed", "3 seeds"); `score` says what
    was measured, in which unit it is printed and which way is better.

    >>> str(Interval(0.873, 0.869, 0.877, over="chips"))
    '87.3 % [86.9, 87.7] (95 % over chips)'
    >>> f"{Interval(0.873, 0.869, 0.877, over='chips'):.1%}"
    '87.3%'
    """

    estimate: float
    low: float | None
    high: float | None
    over: str
    level: float = 0.95
    refusal: str | None = None
    score: Score = OF_ACCURACY

    @property
    def half(self) -> float | None:
        """Half the width of the interval, or None where a bound is missing."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def digits(self) -> int:
        """Decimals that show this width: of a percentage one, more where it is below 0.1 or 0.01 points."""
        return self.score.digits(self.half, self.estimate)

    def even(self, digits: int) -> bool:
        """Whether the bounds are equally far from the estimate, printed with so many digits."""
        if self.low is None or self.high is None:
            return True
        scale = self.score.scale
        below, above = scale * (self.estimate - self.low), scale * (self.high - self.estimate)
        return f"{below:.{digits}f}" == f"{above:.{digits}f}"

    def bounds(self, *, scale: float | None = None, digits: int | None = None) -> str:
        """The bounds in brackets, times `scale` or as the score is printed; a missing one is a dash."""
        scale = self.score.scale if scale is None else scale
        digits = self.plain_digits if digits is None else digits
        low, high = ("–" if b is None else f"{scale * b:.{digits}f}" for b in (self.low, self.high))
        return f"[{low}, {high}]"

    @property
    def plain_digits(self) -> int:
        """Decimals of the estimate where its width is not looked at: one of a percentage."""
        return 1 if self.score.unit == "%" else self.digits

    @property
    def text(self) -> str:
        """The estimate with its unit."""
        return self.score.text(self.estimate, digits=self.plain_digits)

    def __str__(self) -> str:
        return f"{self.text} {self.bounds()} ({100 * self.level:g} % over {self.over})"

    def __format__(self, spec: str) -> str:
        """The estimate in a format for numbers, such as `.1%`; without one, the text of `str`."""
        return format(self.estimate, spec) if spec else str(self)


@dataclass(frozen=True, repr=False)
class Difference(Interval):
    """The interval of a difference of two scores, accuracies in points, as a comparison prints it.

    >>> print(Difference(0.0095, 0.0062, 0.0128, over="chips"))
    +0.9 points [0.6, 1.3] (95 % over chips)
    """

    @classmethod
    def of(cls, interval: Interval) -> Difference:
        """The same estimate and bounds, as those of a difference.

        Args:
            interval: of differences, −1 … 1.

        Returns:
            It, to be printed in points.
        """
        return cls(**{one.name: getattr(interval, one.name) for one in fields(interval)})

    @property
    def points(self) -> str:
        """The estimate with its sign, and the bounds, in points or in the unit of the score."""
        digits, score = self.digits, self.score
        return f"{score.scale * self.estimate:+.{digits}f} {score.step} {self.bounds(digits=digits)}"

    def __str__(self) -> str:
        return f"{self.points} ({100 * self.level:g} % over {self.over})"


def mean_interval(values: Values, *, level: float = 0.95, within: Range = ACCURACY) -> Interval:
    """The mean of chips and an interval that allows for skew: Student's and Hall's t, whichever is wider.

    With T = (x̄ − µ)·√n / s, γ the sample's skewness and q = t_{n−1}(½ + level/2), Student's bounds are
    x̄ ∓ q·s/√n, and Hall's x̄ − h(±q)·s/√n, h(q) = (3/a)·(∛(1 + a·(q − a/6)) − 1), a = γ/√n. A sample
    without skew has Student's; a few chips that fail take the lower bound down.

    Values from chips that each saw their own random images need no other formula: their spread already holds
    both the spread of the chips and that of the images. What happens to no chip of the sample is in no
    interval of this kind: of n chips, failures of up to 1 − (1 − level)^{1/n} ≈ 3/n may be unseen.

    Args:
        values: one number per chip, at least 2.
        level: the coverage, 0.95.
        within: the range that bounds cannot leave: (0, 1), accuracies; None or (−1, 1) for differences. It
            is left alone where a value lies outside of it.

    Source: Student, Biometrika 6 (1908); Hall, J. R. Stat. Soc. B 54 (1992).

    >>> interval = mean_interval([0.90, 0.92, 0.94])
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.8703, 0.9697)
    >>> print(mean_interval([0.95] * 39 + [0.15]))
    93.0 % [80.0, 97.0] (95 % over chips)
    """
    x = sample(values, where="mean_interval", least=2)
    return _skewed(float(x.mean()), [x], len(x) - 1, level=level, over="chips", within=_range(within, [x]))


def seeds_interval(
    values_by_seed: Mapping[int, Values], *, level: float = 0.95, within: Range = ACCURACY
) -> Interval:
    """The mean over training seeds and its interval, chips nested in seeds: a t interval of the S seed means.

    With seed effects of variance τ² and chips of variance σ² within each seed, the seed means are
    independent, each of variance τ² + σ²/n, so their mean ± t_{S−1} · sd / √S covers exactly for normal
    effects and equal n: both levels of chance are in the spread of the seed means, and S − 1, not the number
    of chips, are its degrees of freedom. With unequal n the variance stays unbiased and the coverage close.
    Chips must be drawn anew for every seed. `within` is that of `mean_interval`.

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
    found = t_interval(float(means.mean()), error, count - 1, level=level, over=f"{count} seeds")
    return _kept_within(found, _range(within, [means]))


def chips_interval(
    values_by_seed: Mapping[int, Values], *, level: float = 0.95, within: Range = ACCURACY
) -> Interval:
    """The mean over seeds with an interval over chips only, about these trained networks and no method.

    The seeds are strata: the variance is Σ_s s_s² / n_s / S², with Welch–Satterthwaite degrees of freedom,
    and skew is allowed for as in `mean_interval`, with a = κ₃ / (variance)^{3/2}, κ₃ = Σ_s k₃ₛ / n_s² / S³.

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
    return _skewed(mean, samples, freedom, level=level, over=over, within=_range(within, samples))


def _skewed(
    mean: float, samples: list[Tensor], freedom: float, *, level: float, over: str, within: Range
) -> Interval:
    """Student's interval, widened on either side to Hall's."""
    count = len(samples)
    error = math.sqrt(sum(float(x.var()) / len(x) / count**2 for x in samples))
    plain = t_interval(mean, error, freedom, level=level, over=over)
    third = sum(_third_cumulant(x) / len(x) ** 2 / count**3 for x in samples)
    if plain.half is None or error**3 == 0:  # also where so small a spread has no third power
        return plain
    a, q = third / error**3, plain.half / error
    low, high = (mean - error * _hall(sign * q, a) for sign in (1, -1))
    widest = replace(plain, low=min(mean - q * error, low), high=max(mean + q * error, high))
    return _kept_within(widest, within)


def _hall(q: float, a: float) -> float:
    """Where a studentised mean of skewness a has its quantile, if that of one without skew is q."""
    return q if abs(a) < 1e-9 else 3 / a * (math.cbrt(1 + a * (q - a / 6)) - 1)


def _third_cumulant(x: Tensor) -> float:
    """Σ (x − x̄)³ / n, not made unbiased: one low chip of ten would then take the bound of ten further."""
    return float((x - x.mean()).pow(3).mean())


def _range(within: Range, samples: list[Tensor]) -> Range:
    """The range, if all values lie in it."""
    if within is None or any(float(x.min()) < within[0] or float(x.max()) > within[1] for x in samples):
        return None
    return within


def _kept_within(interval: Interval, within: Range) -> Interval:
    if within is None or interval.low is None or interval.high is None:
        return interval
    return replace(interval, low=max(interval.low, within[0]), high=min(interval.high, within[1]))


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
    try:
        x = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise DataError(where, found=shown(values), expected="one number per chip") from None
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
            remedy="chips that overflow have an infinite loss: take a bounded score, such as accuracy",
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
