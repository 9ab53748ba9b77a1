"""Intervals of the mean: the numbers of scipy and of printed tables, and coverage at the rate they claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from everychip.errors import ConfigError, DataError, SampleSizeError
from everychip.rng import rng_for
from everychip.statistics.intervals import Interval, chips_interval, mean_interval, seeds_interval, t_interval

TRIALS = 3000
# Four standard errors of a share of 0.95 among the trials.
SLACK = 4 * math.sqrt(0.95 * 0.05 / TRIALS)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng_for(seed, "intervals"), dtype=torch.float64)


def covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize(
    ("freedom", "level", "quantile"),
    [
        (1, 0.95, 12.706),
        (2, 0.95, 4.303),
        (9, 0.95, 2.262),
        (30, 0.95, 2.042),
        (4, 0.99, 4.604),
        (7, 0.9, 1.895),
    ],
)
def test_the_t_quantiles_are_those_of_the_printed_tables(freedom: int, level: float, quantile: float) -> None:
    assert t_interval(0.0, 1.0, freedom, level=level, over="chips").high == pytest.approx(quantile, abs=6e-4)


@pytest.mark.parametrize(("n", "level"), [(2, 0.95), (5, 0.9), (200, 0.99)])
def test_the_interval_of_a_sample_without_skew_is_scipys_t_interval(n: int, level: float) -> None:
    half = 0.02 * normal(n, n)
    x = 0.5 + torch.cat([half, -half])
    expected = stats.ttest_1samp(x.numpy(), 0.0).confidence_interval(level)
    got = mean_interval(x, level=level)
    assert (got.estimate, got.low, got.high) == pytest.approx((0.5, expected.low, expected.high))


@pytest.mark.parametrize("n", [5, 40, 200])
def test_a_skewed_sample_has_halls_interval_on_its_long_side_and_students_on_the_other(n: int) -> None:
    x = 0.9 + 0.01 * ((torch.arange(n, dtype=torch.float64) + 0.5) / n).log()
    plain = stats.ttest_1samp(x.numpy(), 0.0).confidence_interval(0.95)
    got = mean_interval(x)
    error, a = (
        float(x.std()) / math.sqrt(n),
        float(((x - x.mean()) ** 3).mean() / x.std() ** 3) / math.sqrt(n),
    )
    assert got.low is not None
    assert got.low < plain.low
    assert got.high == pytest.approx(plain.high)
    # Hall's transformation of the studentised distance of the bound is Student's quantile.
    t = float(x.mean() - got.low) / error
    assert t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6 == pytest.approx(stats.t.ppf(0.975, n - 1))


@pytest.mark.parametrize("interval", [mean_interval, lambda x: chips_interval({0: x, 1: x})])
def test_no_bound_of_accuracies_leaves_0_to_1(interval: Callable[..., Interval]) -> None:
    for x in ([1.0, 1.0, 0.4], [0.0, 0.02, 0.3], [0.99, 0.5]):
        got = interval(x)
        assert 0 <= (got.low or 0.0) <= got.estimate <= (got.high or 1.0) <= 1
    got = seeds_interval({0: [1.0], 1: [0.98], 2: [0.7]})
    assert (got.high, got.low) == (1.0, pytest.approx(0.48, abs=0.01))
    free = mean_interval([0.99, 0.5], within=None)
    assert free.high is not None
    assert free.high > 1
    # What is no accuracy is not made one.
    assert mean_interval([0.9, 1.1]).high == pytest.approx(1 + 12.706 * 0.1, abs=0.001)


def test_the_t_interval_covers_at_its_level() -> None:
    hits = sum(covers(mean_interval(x), 0.0) for x in normal(1, TRIALS, 6))
    assert hits / TRIALS == pytest.approx(0.95, abs=SLACK)


@pytest.mark.parametrize("seed_spread", [0.0, 0.5, 3.0])
def test_the_interval_over_seeds_covers_at_its_level_whatever_the_spread_of_the_seeds(
    seed_spread: float,
) -> None:
    effects, chips = seed_spread * normal(2, TRIALS, 3, 1), normal(3, TRIALS, 3, 10)
    hits = sum(covers(seeds_interval(dict(enumerate(trial))), 0.0) for trial in effects + chips)
    assert hits / TRIALS == pytest.approx(0.95, abs=SLACK)


def test_an_interval_that_pools_the_chips_of_all_seeds_would_cover_far_less() -> None:
    effects, chips = normal(4, TRIALS, 3, 1), normal(5, TRIALS, 3, 10)
    hits = sum(covers(mean_interval(trial.flatten()), 0.0) for trial in effects + chips)
    assert hits / TRIALS < 0.6


def test_the_interval_over_seeds_with_unequal_numbers_of_chips_still_covers() -> None:
    sizes = (5, 10, 20, 40)
    effects, chips = 0.3 * normal(6, TRIALS, 4, 1), normal(7, TRIALS, 4, 40)
    hits = 0
    for trial in effects + chips:
        parts = {seed: x[:size] for seed, (x, size) in enumerate(zip(trial, sizes, strict=True))}
        hits += covers(seeds_interval(parts), 0.0)
    assert hits / TRIALS > 0.95 - 2 * SLACK


def test_the_interval_over_seeds_is_the_t_interval_of_the_seed_means() -> None:
    values = {7: [0.90, 0.92], 1: [0.93, 0.95, 0.97], 3: [0.89]}
    expected = stats.ttest_1samp([0.91, 0.95, 0.89], 0.0).confidence_interval(0.95)
    got = seeds_interval(values)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    assert got.over == "3 seeds"


def test_two_seeds_carry_no_statement_about_a_method() -> None:
    with pytest.raises(SampleSizeError, match=r"2 training seeds; expected at least 3 .* chips_interval"):
        seeds_interval({0: [0.9, 0.8], 1: [0.9, 0.8]})


def test_the_interval_over_chips_of_one_seed_is_the_t_interval_under_another_label() -> None:
    x = 0.9 + 0.01 * normal(8, 12)
    one, plain = chips_interval({4: x}), mean_interval(x)
    assert (one.low, one.high) == pytest.approx((plain.low, plain.high))
    assert (one.over, plain.over) == ("chips, one seed", "chips")


def test_the_interval_over_chips_of_two_seeds_is_half_of_welchs() -> None:
    a, b = 0.9 + 0.01 * normal(9, 12), 0.8 + 0.05 * normal(10, 30)
    a, b = (torch.cat([x, 2 * x.mean() - x]) for x in (a, b))  # without skew
    welch = stats.ttest_ind(a.numpy(), b.numpy(), equal_var=False).confidence_interval(0.95)
    got = chips_interval({0: a, 1: b}, within=None)
    assert got.half == pytest.approx((welch.high - welch.low) / 4)
    assert got.estimate == pytest.approx(float(a.mean() + b.mean()) / 2)
    assert got.over == "chips of these 2 seeds"


def test_equal_values_leave_an_interval_without_width() -> None:
    for got in (mean_interval([0.5] * 4), chips_interval({0: [0.5] * 4, 1: [0.5] * 3})):
        assert (got.estimate, got.low, got.high, got.half) == (0.5, 0.5, 0.5, 0.0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_mean_lies_in_its_interval_and_the_order_does_not_matter(values: list[float]) -> None:
    got = mean_interval(values)
    assert got.low is not None
    assert got.high is not None
    assert got.low <= got.estimate <= got.high
    turned = mean_interval(values[::-1])
    assert (got.low, got.high) == pytest.approx((turned.low, turned.high), abs=1e-12)


def test_an_interval_prints_in_percent_and_a_missing_bound_as_a_dash() -> None:
    assert (
        str(Interval(0.5, 0.4, 0.6, over="3 seeds", level=0.9)) == "50.0 % [40.0, 60.0] (90 % over 3 seeds)"
    )
    assert Interval(0.5, None, 0.6, over="chips").bounds() == "[–, 60.0]"
    assert Interval(0.5, None, 0.6, over="chips").half is None


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    with pytest.raises(SampleSizeError, match="expected at least 2; draw more chips"):
        mean_interval(values)


def test_values_that_are_no_sample_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 values that are not finite"):
        mean_interval([0.5, math.inf])
    with pytest.raises(DataError, match=r"a tensor \[2, 2\]; expected one value per chip"):
        mean_interval(torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="level: found 95; expected a number, more than 0 and less than 1"):
        mean_interval([0.5, 0.6], level=95)
    with pytest.raises(SampleSizeError, match="no seed"):
        chips_interval({})


def test_an_interval_takes_the_formats_of_its_estimate() -> None:
    interval = mean_interval([0.90, 0.92, 0.94])
    assert f"{interval:.1%}" == f"{interval.estimate:.1%}" == "92.0%"
    assert f"{interval}" == str(interval)
