"""What a sample of chips says about the bad ones: k-th percentile, worst, yield; no law is assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from everychip.config.validation import must_be
from everychip.errors import ConfigError, SampleSizeError
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import Interval, Values, fraction, sample
from everychip.statistics.outcome import bar_above_chance


def kpp(values: Values, *, k: float = 5.0, level: float = 0.95, score: Score = ACCURACY) -> Interval:
    """The k-th percentile from the bad end, KPP_k: k % of all chips do no better. No law is assumed.

    Estimate: the ⌈n k/100⌉-th smallest value. Bounds: order statistics X_(l) and X_(u) (counted from 1), l
    the largest with P(Bin(n, k/100) ≤ l − 1) ≤ (1 − level)/2 and u the smallest with P(Bin(n, k/100) ≥ u) ≤
    (1 − level)/2. There is no l where (1 − k/100)ⁿ > (1 − level)/2: a 95 % lower bound needs n ≥ 72 for k =
    5 and n ≥ 368 for k = 1.

    Source: Conover, Practical Nonparametric Statistics, §3.2; the measure: Yan et al., ICCAD 2023,
    arXiv 2307.15853.

    >>> interval = kpp([0.5 + i / 1000 for i in range(200)])
    >>> interval.estimate, interval.low, interval.high
    (0.509, 0.503, 0.516)
    >>> print(kpp([0.8, 0.9], k=5).refusal)
    KPP5 has no lower bound: at 95 % it needs 72 chips, these are 2
    """
    from scipy.special import bdtr, bdtrc

    must_be(k, "kpp.k", above=0, below=100)
    x = (score.sign * sample(values, where="kpp")).sort().values
    share, tail, n = k / 100, (1 - fraction(level, "level")) / 2, len(x)
    counts = torch.arange(n, dtype=torch.float64).numpy()
    first = int((bdtr(counts, n, share) <= tail).sum()) - 1
    last = int((bdtrc(counts, n, share) > tail).sum())
    low, high = (float(x[first]) if first >= 0 else None), (float(x[last]) if last < n else None)
    refusal = None
    if low is None or high is None:
        bad, good = ("lower", "upper") if score.higher_is_better else ("upper", "lower")
        side, odds = (bad, 1 - share) if low is None else (good, share)
        needed = math.ceil(math.log(tail) / math.log(odds))
        refusal = f"KPP{k:g} has no {side} bound: at {100 * level:g} % it needs {needed} chips, these are {n}"
    # Less a hair, because 200 · 0.07 is 14.000000000000002.
    rank = max(math.ceil(n * share - 1e-9), 1)
    found = Interval(float(x[rank - 1]), low, high, over="chips", level=level, refusal=refusal, score=score)
    return found if score.higher_is_better else _mirrored(found)


def _mirrored(interval: Interval) -> Interval:
    """The interval of values whose signs had been turned."""
    low, high = (None if bound is None else -bound for bound in (interval.high, interval.low))
    return replace(interval, estimate=-interval.estimate, low=low, high=high)


def worst(values: Values, *, score: Score = ACCURACY) -> float:
    """The worst value of the sample. It gets worse as n grows and bounds nothing, so n stands beside it.

    >>> worst([0.9, 0.7, 0.8])
    0.7
    """
    x = sample(values, where="worst")
    return float(x.min() if score.higher_is_better else x.max())


def yield_at(values: Values, *, target: float, level: float = 0.95, score: Score = ACCURACY) -> Interval:
    """The share of chips that are at least as good as a target, with its Clopper–Pearson interval.

    Source: Clopper & Pearson, Biometrika 26 (1934).

    >>> print(yield_at([0.91, 0.92, 0.85, 0.97], target=0.90).estimate)
    0.75
    """
    x = sample(values, where="yield_at")
    must_be_target(target, score)
    hits = sum(score.reaches(value, target) for value in x.tolist())
    return proportion(hits, of=len(x), over="chips", level=level)


def must_be_target(target: float, score: Score, *, where: str = "target") -> None:
    """Refuse a target that the score cannot have."""
    must_be(target, where)
    low, high = score.within or (-math.inf, math.inf)
    if score.unit == "%" and not 0 < target <= 1:
        raise ConfigError(
            where, found=f"{target:g}", expected="a fraction above 0, up to 1", remedy="90 % is 0.9"
        )
    if not low <= target <= high:
        raise ConfigError(where, found=f"{target:g}", expected=f"a {score.name} of {low:g} … {high:g}")


def unseen(n: int, *, level: float = 0.95) -> float:
    """The largest share of failing chips of which n chips show none with probability 1 − level: ≈ 3 / n.

    p = 1 − (1 − level)^{1/n}, the upper Clopper–Pearson bound of 0 of n on one side, the "rule of three".

    Source: Hanley & Lippman-Hand, JAMA 249 (1983).

    >>> round(unseen(100), 4), round(unseen(300), 4)
    (0.0295, 0.0099)
    """
    if n < 1:
        raise SampleSizeError("unseen", found=f"{n} chips", expected="at least 1")
    return float(1 - (1 - fraction(level, "level")) ** (1 / n))


def above_chance(final_by_seed: Mapping[int, float], *, classes: int, level: float = 0.95) -> Interval:
    """The share of training seeds that end above `bar_above_chance` under noise, with Clopper–Pearson bounds.

    >>> above_chance({0: 0.97, 1: 0.10, 2: 0.96}, classes=10).estimate == 2 / 3
    True
    """
    final = sample(list(final_by_seed.values()), where="above_chance")
    must_be(classes, "above_chance.classes", least=2)
    hits = int((final > bar_above_chance(classes)).sum())
    return proportion(hits, of=len(final), over=f"{len(final)} seeds", level=level)


def proportion(hits: int, *, of: int, over: str, level: float = 0.95) -> Interval:
    """hits / of with its Clopper–Pearson interval: the quantiles of Beta(h, n−h+1) and Beta(h+1, n−h).

    >>> interval = proportion(0, of=10, over="chips")
    >>> interval.low, round(interval.high, 4)
    (0.0, 0.3085)
    """
    from scipy.special import betaincinv

    if not 0 <= hits <= of or of < 1:
        raise SampleSizeError("proportion", found=f"{hits} of {of}", expected="0 ≤ hits ≤ of and of ≥ 1")
    tail = (1 - fraction(level, "level")) / 2
    low = float(betaincinv(hits, of - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - tail)) if hits < of else 1.0
    return Interval(hits / of, low, high, over=over, level=level)
