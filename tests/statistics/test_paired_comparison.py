"""Paired comparisons give scipy's p-values and intervals, and say in words where there is nothing to test."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from everychip.errors import DataError, SampleSizeError
from everychip.rng import rng_for
from everychip.statistics.intervals import mean_interval
from everychip.statistics.paired_comparison import compare, compare_seeds


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng_for(seed, "paired"), dtype=torch.float64)


def accuracies(seed: int, n: int, *, gain: float = 0.0) -> torch.Tensor:
    """Accuracies on 10 000 images: multiples of 0.0001, so that differences tie and vanish."""
    return ((0.9 + gain + 0.002 * normal(seed, n)) * 10_000).round() / 10_000


@pytest.mark.parametrize("n", [6, 12, 40, 200])
def test_p_values_and_interval_are_scipys(n: int) -> None:
    a, b = 0.9 + 0.01 * normal(1, n), 0.89 + 0.02 * normal(2, n)
    got = compare(a, b)
    t = stats.ttest_rel(a.numpy(), b.numpy())
    interval = t.confidence_interval(0.95)
    assert got.p_t == pytest.approx(t.pvalue)
    assert (got.difference.low, got.difference.high) == pytest.approx((interval.low, interval.high))
    assert got.p_wilcoxon == pytest.approx(stats.wilcoxon(a.numpy(), b.numpy()).pvalue)
    assert got.difference.estimate == pytest.approx(float(a.mean() - b.mean()))
    assert (got.n, got.seeds, got.refusals) == (n, 1, ())


def test_equal_differences_tie_in_the_ranks_whatever_their_last_bits() -> None:
    a, b = accuracies(3, 200, gain=0.0003), accuracies(4, 200)
    counts = ((a - b) * 10_000).round().numpy()
    assert compare(a, b).p_wilcoxon == pytest.approx(stats.wilcoxon(counts).pvalue, rel=1e-9)


def test_the_comparison_is_antisymmetric() -> None:
    a, b = accuracies(5, 30, gain=0.001), accuracies(6, 30)
    one, other = compare(a, b), compare(b, a)
    assert one.difference.estimate == -other.difference.estimate
    assert one.difference.low == pytest.approx(-(other.difference.high or math.nan))
    assert (one.p_t, one.p_wilcoxon) == pytest.approx((other.p_t, other.p_wilcoxon))


def test_pairing_takes_out_what_the_chips_share() -> None:
    shared = 0.05 * normal(7, 100)
    a, b = 0.85 + shared + 0.001 * normal(8, 100), 0.84 + shared + 0.001 * normal(9, 100)
    paired = compare(a, b).difference.half
    unpaired = mean_interval(a).half
    assert paired is not None
    assert unpaired is not None
    assert paired < unpaired / 10


def test_p_values_of_no_difference_are_uniform() -> None:
    ps = [compare(*pair).p_t for pair in normal(10, 1000, 2, 8)]
    assert stats.kstest(ps, "uniform").pvalue > 1e-3


def test_no_difference_at_all_is_p_one_and_said() -> None:
    got = compare([0.9] * 8, [0.9] * 8)
    assert (got.difference.estimate, got.difference.low, got.difference.high) == (0, 0, 0)
    assert (got.p_t, got.p_wilcoxon) == (1.0, 1.0)
    assert str(got) == (
        "+0.0 points [0.0, 0.0] paired over 8 chips, p = 1 (t), 1 (Wilcoxon); no difference on any of 8 chips"
    )


def test_one_and_the_same_difference_leaves_no_spread_for_a_t_test() -> None:
    got = compare([0.91, 0.82, 0.73, 0.94, 0.65, 0.86], [0.9, 0.81, 0.72, 0.93, 0.64, 0.85])
    assert got.p_t is None
    assert got.p_wilcoxon == pytest.approx(2 / 2**6)
    assert got.refusals == ("no t test: the difference is the same on all 6 chips",)
    assert "p = 0.031 (Wilcoxon)" in str(got)


def test_five_chips_are_too_few_for_wilcoxon() -> None:
    got = compare([0.91, 0.82, 0.75, 0.94, 0.61], [0.9, 0.8, 0.7, 0.9, 0.6])
    assert got.p_wilcoxon is None
    assert got.refusals == ("no Wilcoxon test: 5 differences, it needs 6",)


def test_the_text_says_difference_interval_chips_and_p_values() -> None:
    d = [0.010, 0.050, 0.031, 0.042, 0.020, 0.033] * 4
    got = compare([0.5 + x for x in d], [0.5] * 24)
    t, w = stats.ttest_1samp(d, 0), stats.wilcoxon(d)
    low, high = t.confidence_interval(0.95)
    assert str(got) == (
        f"+3.1 points [{100 * low:.1f}, {100 * high:.1f}] paired over 24 chips, "
        f"p = {t.pvalue:.0e} (t), {w.pvalue:.0e} (Wilcoxon)".replace("e-0", "e-")
    )
    assert str(compare([0.5] * 24, [0.5 + x for x in d])).startswith("-3.1 points [-3.7, -2.5]")


def test_a_small_difference_is_printed_with_digits_that_tell_it_from_zero() -> None:
    d = [0.0003, 0.0009] * 10
    assert str(compare([0.9 + x for x in d], [0.9] * 20)).startswith("+0.06 points [0.05, 0.07] paired")


def test_over_seeds_it_is_scipys_t_test_of_the_seed_means() -> None:
    a = {s: 0.90 + 0.01 * normal(20 + s, 30) for s in range(4)}
    b = {s: 0.88 + 0.01 * normal(30 + s, 30) for s in reversed(range(4))}
    got = compare_seeds(a, b)
    means = [float((a[s] - b[s]).mean()) for s in range(4)]
    t = stats.ttest_1samp(means, 0.0)
    interval = t.confidence_interval(0.95)
    assert got.p_t == pytest.approx(t.pvalue)
    assert (got.difference.low, got.difference.high) == pytest.approx((interval.low, interval.high))
    assert (got.n, got.seeds, got.p_wilcoxon) == (120, 4, None)
    assert "paired over 4 seeds, 120 chips, p = " in str(got)


def test_over_seeds_no_difference_is_found_at_the_nominal_rate_although_seeds_differ() -> None:
    trials = 2000
    effects, chips = normal(40, trials, 3, 1), normal(41, trials, 2, 3, 20)
    found = 0
    for effect, (a, b) in zip(effects, chips, strict=True):
        got = compare_seeds(dict(enumerate(a + effect)), dict(enumerate(b)))
        found += got.p_t is not None and got.p_t < 0.05
    assert found / trials == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / trials))


def test_six_seeds_bring_wilcoxon_back() -> None:
    a = {s: [0.9 + 0.001 * s, 0.9] for s in range(6)}
    b = {s: [0.8, 0.8 + 0.002 * s] for s in range(6)}
    means = [sum(a[s]) / 2 - sum(b[s]) / 2 for s in range(6)]
    assert compare_seeds(a, b).p_wilcoxon == pytest.approx(stats.wilcoxon(means).pvalue)


def test_what_is_not_paired_is_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match=r"2 chips beside 3; .* evaluate both with the same seed"):
        compare([0.9, 0.8], [0.9, 0.8, 0.7])
    with pytest.raises(SampleSizeError, match="1 value; expected at least 2"):
        compare([0.9], [0.8])
    three = {0: [0.9], 1: [0.8], 2: [0.7]}
    with pytest.raises(DataError, match=r"seeds \[0, 1, 2\] beside seeds \[0, 1, 3\]; .* train the missing"):
        compare_seeds(three, {0: [0.9], 1: [0.8], 3: [0.7]})
    with pytest.raises(DataError, match="seed 2: found 1 chips beside 2"):
        compare_seeds(three, {**three, 2: [0.7, 0.6]})
    with pytest.raises(
        SampleSizeError, match=r"2 training seeds; .* compare two trained networks with compare"
    ):
        compare_seeds({0: [0.9], 1: [0.8]}, {0: [0.9], 1: [0.8]})


def test_a_difference_alone_is_printed_as_the_comparison_prints_it() -> None:
    a, b = [0.90, 0.92, 0.91, 0.95], [0.80, 0.83, 0.84, 0.83]
    seeds = {seed: [value + 0.001 * seed for value in a] for seed in range(3)}
    for found in (compare(a, b), compare(b, a), compare_seeds(seeds, dict.fromkeys(range(3), b))):
        points = str(found).partition(" paired over")[0]
        assert str(found.difference).startswith(f"{points} (95 % over ")
        assert points[0] in "+-"
        assert " points [" in points
