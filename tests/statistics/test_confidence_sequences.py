"""Confidence sequences agree with their equations and hold while watched, where the t interval does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy import integrate, stats

from everychip.errors import ConfigError, SampleSizeError
from everychip.rng import rng_for
from everychip.statistics.confidence_sequences import Sequential, SequentialT
from everychip.statistics.intervals import mean_interval

Sampler = Callable[[int, int], torch.Tensor]


def coin(trials: int, n: int) -> torch.Tensor:
    return (torch.rand(trials, n, generator=rng_for(0, "coin")) < 0.8).double()


def rare_failure(trials: int, n: int) -> torch.Tensor:
    return 0.98 * (torch.rand(trials, n, generator=rng_for(0, "failure")) > 0.02).double()


def even(trials: int, n: int) -> torch.Tensor:
    return torch.rand(trials, n, generator=rng_for(0, "even"), dtype=torch.float64)


def normal(trials: int, n: int) -> torch.Tensor:
    return 0.5 + torch.randn(trials, n, generator=rng_for(0, "normal"), dtype=torch.float64) / 10


def misses_anywhere(watch: Sequential | SequentialT, values: torch.Tensor, truth: float) -> bool:
    for x in values.tolist():
        watch.update([x])
        now = watch.interval
        if now.low is not None and now.high is not None and not now.low <= truth <= now.high:
            return True
    return False


def test_the_empirical_bernstein_sequence_is_its_equation() -> None:
    x = even(1, 60)[0].tolist()
    alpha, n = 0.1, len(x)
    mean = [(0.5 + sum(x[:t])) / (t + 1) for t in range(n + 1)]
    variance = [
        (0.25 + sum((x[i - 1] - mean[i]) ** 2 for i in range(1, t + 1))) / (t + 1) for t in range(n + 1)
    ]
    bets = [
        min(math.sqrt(2 * math.log(2 / alpha) / (variance[t - 1] * t * math.log(t + 1))), 0.75)
        for t in range(1, n + 1)
    ]
    centre = sum(bet * value for bet, value in zip(bets, x, strict=True)) / sum(bets)
    penalty = sum(4 * (x[i] - mean[i]) ** 2 * (-math.log(1 - bets[i]) - bets[i]) / 4 for i in range(n))
    half = (math.log(2 / alpha) + penalty) / sum(bets)
    watch = Sequential(level=0.9)
    watch.update(x)
    assert (watch.interval.low, watch.interval.high) == pytest.approx((centre - half, centre + half))
    assert watch.interval.estimate == pytest.approx(sum(x) / n)


@pytest.mark.parametrize(("sampler", "truth"), [(coin, 0.8), (rare_failure, 0.98**2), (even, 0.5)])
def test_the_empirical_bernstein_sequence_holds_at_all_times_at_once(sampler: Sampler, truth: float) -> None:
    trials = 300
    missed = sum(misses_anywhere(Sequential(), row, truth) for row in sampler(trials, 400))
    assert missed / trials <= 0.05


@pytest.mark.parametrize("g", [0.1, 1.0])
def test_the_bounds_of_the_t_sequence_are_where_its_bayes_factor_reaches_one_over_alpha(g: float) -> None:
    x, alpha = normal(1, 25)[0], 0.05
    watch = SequentialT(level=1 - alpha, g=g)
    watch.update(x.tolist())
    assert watch.interval.low is not None
    t = float((x.mean() - watch.interval.low) / x.std()) * math.sqrt(25)

    def weighted(effect: float) -> float:
        return float(
            stats.nct.pdf(t, 24, effect * math.sqrt(25)) * stats.norm.pdf(effect, scale=math.sqrt(g))
        )

    marginal = integrate.quad(weighted, -3, 3, limit=200)[0]
    assert marginal / stats.t.pdf(t, 24) == pytest.approx(1 / alpha, rel=1e-4)


def test_the_t_sequence_holds_at_all_times_at_once_for_normal_values() -> None:
    trials = 400
    missed = sum(misses_anywhere(SequentialT(), row, 0.5) for row in normal(trials, 300))
    assert missed / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_a_t_interval_that_is_watched_misses_far_more_often_than_it_says() -> None:
    trials, missed = 200, 0
    for row in normal(trials, 100):
        looks = [mean_interval(row[:n]) for n in range(5, 100, 5)]
        missed += any(not (now.low or 0) <= 0.5 <= (now.high or 1) for now in looks)
    assert missed / trials > 0.12


def test_stopping_when_narrow_enough_keeps_the_promise() -> None:
    trials, missed, spent = 300, 0, 0
    for row in normal(trials, 200).tolist():
        watch = SequentialT()
        for x in row:
            watch.update([x])
            if watch.reached(0.04):
                break
        now = watch.interval
        assert now.half is not None
        assert now.half <= 0.04
        assert now.low is not None
        assert now.high is not None
        missed += not now.low <= 0.5 <= now.high
        spent += watch.n
    assert missed / trials <= 0.05
    assert 20 <= spent / trials < 100


def test_the_least_number_of_chips_of_the_bounded_sequence_is_the_documented_one() -> None:
    watch = Sequential()
    # Values at the sequence's own first guess cost it no variance, so this is the least there is.
    watch.update([0.5] * 2459)
    assert not watch.reached(0.002)
    watch.update([0.5])
    assert watch.reached(0.002)


def test_values_one_by_one_or_together_give_the_same_interval() -> None:
    values = even(1, 50)[0].tolist()
    for kind in (Sequential, SequentialT):
        one, many = kind(), kind()
        many.update(values)
        for x in values:
            one.update([x])
        assert one.interval == many.interval
        assert one.n == many.n == 50


def test_the_first_values_have_no_t_sequence_and_equal_ones_do_not_stop_it_at_once() -> None:
    watch = SequentialT()
    watch.update([0.9, 0.9])
    assert watch.interval.low is None
    assert watch.interval.refusal == "2 chips are too few for a bound that holds under peeking"
    watch.update([0.9] * 17)
    assert not watch.reached(0.01)
    watch.update([0.9])
    assert watch.reached(0.01)


def test_what_cannot_be_watched_is_refused() -> None:
    for kind in (Sequential, SequentialT):
        with pytest.raises(SampleSizeError, match="call update first"):
            _ = kind().interval
        assert not kind().reached(0.1)
        with pytest.raises(ConfigError, match="half_width"):
            kind().reached(0.0)
        with pytest.raises(ConfigError, match="level"):
            kind(level=1.0)
        with pytest.raises(ConfigError, match="nan"):
            kind().update([math.nan])
    with pytest.raises(ConfigError, match="values in"):
        Sequential().update([1.5])
    with pytest.raises(ConfigError, match="variance above 0"):
        SequentialT(g=0.0)
