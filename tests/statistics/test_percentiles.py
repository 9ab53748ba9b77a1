"""Percentile, worst and yield: the numbers of scipy and of printed tables, coverage, refusals where due."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from everychip.errors import ConfigError, DataError, SampleSizeError
from everychip.rng import rng_for
from everychip.statistics.percentiles import above_chance, kpp, proportion, unseen, worst, yield_at


def uniform(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=rng_for(seed, "tails"), dtype=torch.float64)


@pytest.mark.parametrize(("n", "k"), [(72, 5), (200, 5), (368, 1), (1000, 1), (1000, 5), (50, 50), (100, 90)])
def test_the_percentile_and_its_bounds_are_those_of_numpy_and_scipy(n: int, k: float) -> None:
    x = uniform(n, n)
    got = kpp(x, k=k)
    expected = stats.quantile_test(x.numpy(), p=k / 100).confidence_interval(0.95)
    assert (got.low, got.high) == (expected.low, expected.high)
    assert got.estimate == np.percentile(x.numpy(), k, method="inverted_cdf")
    assert got.refusal is None


@pytest.mark.parametrize(("k", "least"), [(1, 368), (5, 72), (10, 36), (0.5, 736)])
def test_a_lower_bound_is_refused_below_the_least_number_of_chips_and_given_from_it_on(
    k: float, least: int
) -> None:
    x = uniform(3, least)
    assert kpp(x, k=k).low == float(x.min())
    short = kpp(x[:-1], k=k)
    assert short.low is None
    assert short.high is not None
    assert short.refusal == (
        f"KPP{k:g} has no lower bound: at 95 % it needs {least} chips, these are {least - 1}"
    )


def test_an_upper_bound_is_refused_likewise_for_percentiles_near_the_top() -> None:
    short = kpp(uniform(4, 71), k=95)
    assert short.high is None
    assert short.low is not None
    assert short.refusal == "KPP95 has no upper bound: at 95 % it needs 72 chips, these are 71"


@pytest.mark.parametrize(("n", "k"), [(100, 5), (400, 5), (400, 1)])
def test_the_percentile_interval_covers_at_its_exact_binomial_rate(n: int, k: float) -> None:
    trials, share = 2000, k / 100
    hits = 0
    x = uniform(n, trials, n)
    for row in x:
        got = kpp(row, k=k)
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= share <= got.high
    # Of the uniform law the k-th percentile is k/100 itself; ranks l, u cover with P(l ≤ Bin(n, k/100) < u).
    ladder = kpp(torch.arange(1, n + 1), k=k)
    assert ladder.low is not None
    assert ladder.high is not None
    exact = stats.binom.cdf(ladder.high - 1, n, share) - stats.binom.cdf(ladder.low - 1, n, share)
    assert exact >= 0.95
    assert hits / trials == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / trials))


def test_the_percentile_interval_holds_for_accuracies_with_many_ties() -> None:
    trials, n = 2000, 100
    x = (uniform(9, trials, n) * 20).floor() / 20
    hits = 0
    for row in x:
        got = kpp(row, k=5)
        hits += got.low is not None and got.high is not None and got.low <= 0.0 <= got.high
    assert hits / trials >= 0.95


def test_pooling_several_networks_keeps_the_percentile_interval_on_the_safe_side() -> None:
    trials, shifts = 1500, torch.tensor([[0.0], [1.0], [2.0]])
    x = uniform(10, trials, 3, 60) + shifts
    # The even mixture of U(0,1), U(1,2), U(2,3) is U(0,3).
    hits = 0
    for row in x:
        got = kpp(row.flatten(), k=20)
        hits += got.low is not None and got.high is not None and got.low <= 0.6 <= got.high
    assert hits / trials >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=120), st.floats(1, 99))
def test_the_percentile_lies_in_its_interval_and_the_order_does_not_matter(
    values: list[float], k: float
) -> None:
    got = kpp(values, k=k)
    assert got == kpp(sorted(values), k=k)
    assert got.low is None or min(values) <= got.low <= got.estimate
    assert got.high is None or got.estimate <= got.high <= max(values)
    assert (got.refusal is None) == (got.low is not None and got.high is not None)


def test_a_rank_is_not_lost_to_rounding() -> None:
    # 0.07 · 200 is 14.000000000000002 in floating point, and the 14th value is meant.
    assert kpp(torch.arange(1, 201), k=7).estimate == 14


# Clopper–Pearson 95 % limits as printed in tables of exact binomial limits.
@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (0, 10, 0, 0.3085),
        (1, 20, 0.0013, 0.2487),
        (5, 10, 0.1871, 0.8129),
        (10, 100, 0.0490, 0.1762),
        (10, 10, 0.6915, 1),
    ],
)
def test_the_limits_of_a_share_are_those_of_the_printed_tables(
    hits: int, of: int, low: float, high: float
) -> None:
    got = proportion(hits, of=of, over="chips")
    assert (got.low, got.high) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("of", [1, 7, 200])
def test_the_limits_of_a_share_are_scipys(of: int) -> None:
    for hits in range(of + 1):
        expected = stats.binomtest(hits, of).proportion_ci(0.9, method="exact")
        got = proportion(hits, of=of, over="chips", level=0.9)
        assert (got.low, got.high) == pytest.approx((expected.low, expected.high))


def test_the_limits_of_a_share_cover_at_least_at_their_level_for_every_truth() -> None:
    limits = [proportion(hits, of=30, over="chips") for hits in range(31)]
    for truth in np.linspace(0.001, 0.999, 199):
        odds = stats.binom.pmf(np.arange(31), 30, truth)
        inside = [odd for odd, got in zip(odds, limits, strict=True) if got.low <= truth <= got.high]
        assert sum(inside) >= 0.95


def test_yield_counts_the_chips_that_reach_the_target_float32_rounding_included() -> None:
    x = torch.tensor([0.9, 0.8999, 0.95, 0.1], dtype=torch.float32)
    assert yield_at(x, target=0.9).estimate == 0.5
    assert yield_at([1.0, 0.9999], target=1.0).estimate == 0.5


def test_worst_is_the_least_value() -> None:
    x = uniform(11, 50)
    assert worst(x) == min(x.tolist())


def test_the_share_above_chance_is_that_of_the_seeds_above_twice_chance() -> None:
    got = above_chance({0: 0.97, 1: 0.11, 2: 0.2, 3: 0.21}, classes=10)
    expected = stats.binomtest(2, 4).proportion_ci(0.95, method="exact")
    assert (got.estimate, got.low, got.high) == pytest.approx((0.5, expected.low, expected.high))
    assert got.over == "4 seeds"


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"target: found 90; .* 90 % is 0.9"):
        yield_at([0.9], target=90)
    with pytest.raises(ConfigError, match=r"kpp\.k: found 0"):
        kpp([0.9], k=0)
    with pytest.raises(ConfigError, match=r"above_chance\.classes"):
        above_chance({0: 0.9}, classes=1)
    with pytest.raises(SampleSizeError, match="0 chips"):
        unseen(0)
    assert above_chance({0: 0.61, 1: 0.59}, classes=2).estimate == 0.5
    with pytest.raises(SampleSizeError):
        proportion(3, of=2, over="chips")
    for function in (kpp, worst):
        with pytest.raises(SampleSizeError, match="0 values"):
            function([])
    with pytest.raises(DataError, match="not finite"):
        worst([math.nan])
