"""Which of two models is better: differences chip by chip, over the same chips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from everychip.charts.notebook import Shown
from everychip.config.arguments import a as an
from everychip.config.arguments import takes
from everychip.errors import DataError, SampleSizeError
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import (
    HEADLINE_SEEDS,
    Difference,
    Values,
    sample,
    seeds_interval,
    t_interval,
)

# Five differences of one sign have a two-sided Wilcoxon p of 0.0625: below six the test cannot speak.
_WILCOXON_LEAST = 6


@runtime_checkable
class Drawn(Protocol):
    """Draws know which chips they are of, and compare themselves."""

    def compare(self, other: Any, *, level: float = 0.95) -> Comparison: ...


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """The mean difference a − b with its interval and p-values; a p-value that cannot be had is None.

    >>> print(compare([0.90, 0.92, 0.91, 0.95], [0.80, 0.83, 0.84, 0.83]))
    +9.5 points [6.2, 12.8] paired over 4 chips, p = 0.0028 (t); no Wilcoxon test: 4 differences, it needs 6
    """

    difference: Difference
    n: int
    seeds: int
    p_t: float | None
    p_wilcoxon: float | None
    refusals: tuple[str, ...] = ()

    def __str__(self) -> str:
        over = f"{self.n} chips" if self.seeds == 1 else f"{self.seeds} seeds, {self.n} chips"
        named = (("t", self.p_t), ("Wilcoxon", self.p_wilcoxon))
        ps = [f"{_p(p)} ({name})" for name, p in named if p is not None]
        text = f"{self.difference.points} paired over {over}{self.difference.score.remark}"
        tests = f", p = {', '.join(ps)}" if ps else ""
        return "; ".join([text + tests, *self.refusals])


@takes(score=an(Score, "an everychip.tasks.Score"))
def compare(
    a: Values | Drawn, b: Values | Drawn, *, level: float = 0.95, score: Score = ACCURACY
) -> Comparison:
    """Compare two models over the same chips: t interval, t test and Wilcoxon test of a_c − b_c.

    It speaks of these two trained networks; of their methods speaks `compare_seeds`. Zero differences are
    left out of the ranks, as Wilcoxon did; if every difference is zero, both p-values are 1.

    Args:
        a, b: draws, paired by the number of the chip and refused unless seed, images and cells agree; or
            one number per chip, in the same order.
        level: the coverage of the interval, 0.95.
        score: what plain numbers measure; draws know it.

    Returns:
        The mean difference a − b with its interval and p-values.

    Source: Student, Biometrika 6 (1908); Wilcoxon, Biometrics Bulletin 1 (1945).

    >>> compare([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]).p_t
    1.0
    """
    if isinstance(a, Drawn) and isinstance(b, Drawn):
        return a.compare(b, level=level)
    if isinstance(a, Drawn) or isinstance(b, Drawn):
        found, remedy = "draws beside plain numbers", "draws.accuracy are the numbers of draws"
        raise DataError("compare", found=found, expected="two sets of draws, or numbers twice", remedy=remedy)
    d = _differences(a, b, where="compare", least=2)
    p_t, p_wilcoxon, refusals = _tests(d, unit="chips")
    return Comparison(_student(d, level=level, score=score), len(d), 1, p_t, p_wilcoxon, refusals)


def compare_seeds(
    a_by_seed: Mapping[int, Values],
    b_by_seed: Mapping[int, Values],
    *,
    level: float = 0.95,
    score: Score = ACCURACY,
) -> Comparison:
    """Compare two methods: differences per chip, their mean per training seed, then t over the S seed means.

    Pairing by chip takes out what the chips share; S − 1 degrees of freedom as in `seeds_interval`.

    >>> a = {0: [0.90, 0.92], 1: [0.93, 0.95], 2: [0.89, 0.91]}
    >>> b = {0: [0.88, 0.89], 1: [0.90, 0.93], 2: [0.88, 0.88]}
    >>> round(compare_seeds(a, b).difference.estimate, 4)
    0.0233
    """
    if set(a_by_seed) != set(b_by_seed):
        raise DataError(
            "compare_seeds",
            found=f"seeds {sorted(a_by_seed)} beside seeds {sorted(b_by_seed)}",
            expected="the same training seeds in both",
            remedy="train the missing seeds, or leave the others out of both",
        )
    seeds = sorted(a_by_seed)
    if len(seeds) < HEADLINE_SEEDS:
        raise SampleSizeError(
            "compare_seeds",
            found=f"{len(seeds)} training seed{'' if len(seeds) == 1 else 's'}",
            expected=f"at least {HEADLINE_SEEDS} for a statement about two methods",
            remedy="train more seeds, or compare two trained networks with compare",
        )
    by_seed = {s: _differences(a_by_seed[s], b_by_seed[s], where=f"seed {s}", least=1) for s in seeds}
    means = torch.stack([d.mean() for d in by_seed.values()])
    p_t, p_wilcoxon, refusals = _tests(means, unit="seeds")
    chips = sum(len(d) for d in by_seed.values())
    difference = Difference.of(seeds_interval(by_seed, level=level, within=score.difference))
    difference = replace(difference, score=score)
    return Comparison(difference, chips, len(seeds), p_t, p_wilcoxon, refusals)


def _differences(a: Values, b: Values, *, where: str, least: int) -> Tensor:
    x, y = sample(a, where=where, least=least), sample(b, where=where, least=least)
    if len(x) != len(y):
        raise DataError(
            where,
            found=f"{len(x)} chips beside {len(y)}",
            expected="the same chips in both, in the same order",
            remedy="evaluate both with the same seed and number of chips",
        )
    # Accuracies are ratios of counts: equal differences must tie, whatever the last bits of the quotients.
    d = x - y
    return (d * 1e12).round() / 1e12 if bool((d.abs() <= 1).all()) else d


def _tests(d: Tensor, *, unit: str) -> tuple[float | None, float | None, tuple[str, ...]]:
    if not bool(d.any()):
        return 1.0, 1.0, (f"no difference on any of {len(d)} {unit}",)
    refusals = []
    p_t = p_wilcoxon = None
    if bool((d == d[0]).all()):
        refusals.append(f"no t test: the difference is the same on all {len(d)} {unit}")
    else:
        p_t = _t_test(d)
    if len(d) >= _WILCOXON_LEAST:
        p_wilcoxon = _wilcoxon(d)
    elif unit == "chips":
        refusals.append(f"no Wilcoxon test: {len(d)} differences, it needs {_WILCOXON_LEAST}")
    return p_t, p_wilcoxon, tuple(refusals)


def _t_test(d: Tensor) -> float:
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(d.numpy(), 0.0).pvalue)


def _wilcoxon(d: Tensor) -> float:
    from scipy.stats import wilcoxon

    return float(wilcoxon(d.numpy(), zero_method="wilcox").pvalue)


def _student(d: Tensor, *, level: float, score: Score) -> Difference:
    """The interval that belongs to the paired t test; Wilcoxon's test stands beside it for skewed ones."""
    found = t_interval(
        float(d.mean()), float(d.std()) / math.sqrt(len(d)), len(d) - 1, level=level, over="chips"
    )
    low, high = found.low or 0.0, found.high or 0.0
    least, most = score.difference or (-math.inf, math.inf)
    return replace(Difference.of(found), low=max(low, least), high=min(high, most), score=score)


def _p(p: float) -> str:
    if p < 1e-300:
        return "<1e-300"
    return f"{p:.2g}" if p >= 1e-3 else f"{p:.0e}".replace("e-0", "e-")
