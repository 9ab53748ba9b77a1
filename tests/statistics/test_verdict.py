"""A verdict says what its chips support, in one line, and refuses the rest in words."""

from __future__ import annotations

import pytest
import torch

from everychip.errors import ConfigError, SampleSizeError
from everychip.rng import rng_for
from everychip.statistics.intervals import chips_interval, mean_interval, seeds_interval
from everychip.statistics.percentiles import kpp, yield_at
from everychip.statistics.verdict import summarize, verdict


def accuracies(seed: int, n: int, *, mean: float = 0.87, spread: float = 0.02) -> torch.Tensor:
    rng = rng_for(seed, "verdict")
    return (mean + spread * torch.randn(n, generator=rng, dtype=torch.float64)).clamp(0, 1)


def ladder(n: int) -> list[float]:
    """Accuracies 0.800, 0.801, … whose every statistic can be read off."""
    return [0.8 + i / 1000 for i in range(n)]


def test_the_line_reads_as_the_design_writes_it() -> None:
    # Ranks for n = 200, k = 5: estimate 10th, bounds 4th and 17th; t interval ± 1.972 · 0.057879 / √200.
    assert str(verdict(ladder(200), target=0.9)) == (
        "mean 90.0 % ± 0.8 (95 %), worst 80.0 of 200, KPP5 80.9 [80.3, 81.6], yield at 90 % 0.50 [0.43, 0.57]"
        "; failures of up to 1.5 % of chips may be unseen"
    )


def test_a_verdict_gathers_the_statistics_of_its_chips() -> None:
    x = accuracies(0, 200)
    got = verdict(x, target=0.85, images=1797)
    assert got.mean == mean_interval(x)
    assert got.kpp == kpp(x)
    assert got.yield_ == yield_at(x, target=0.85)
    assert got.worst == float(x.min())
    assert (got.n, got.seeds, got.images, got.refusals) == (200, 1, 1797, ())


def test_without_a_target_there_is_no_yield_and_no_complaint() -> None:
    got = verdict(ladder(100))
    assert got.yield_ is None
    assert "yield" not in str(got)


def test_level_and_percentile_are_choices() -> None:
    x = accuracies(1, 400)
    got = verdict(x, k=1, level=0.9)
    assert got.kpp == kpp(x, k=1, level=0.9)
    assert "(90 %)" in str(got)
    assert "KPP1 " in str(got)


def test_a_bound_the_chips_cannot_give_is_a_dash_and_a_sentence() -> None:
    got = verdict(ladder(50))
    assert got.kpp is not None
    assert got.kpp.low is None
    assert got.refusals == ("KPP5 has no lower bound: at 95 % it needs 72 chips, these are 50",)
    assert "KPP5 80.2 [–, 80.6]; KPP5 has no lower bound" in str(got)


def test_chips_that_saw_their_own_images_keep_only_the_mean() -> None:
    x = accuracies(2, 300)
    got = verdict(x, target=0.85, whole_test=False, images=500)
    assert got.mean == mean_interval(x)
    assert (got.worst, got.kpp, got.yield_) == (None, None, None)
    assert len(got.refusals) == 1
    assert got.refusals[0] == (
        "no worst, KPP5 or yield: each chip met its own random 500 images, "
        "they need the whole test set on every chip"
    )


def test_the_mean_over_random_images_covers_with_the_plain_t_interval() -> None:
    # Two stages: a chip's accuracy, then 50 of 400 images; the interval must hold the mean over chips.
    rng, trials, hits = rng_for(3, "two stages"), 1500, 0
    for _ in range(trials):
        p = 0.8 + 0.1 * torch.rand(40, 1, generator=rng)
        seen = (torch.rand(40, 50, generator=rng) < p).double().mean(1)
        interval = verdict(seen, whole_test=False, images=50).mean
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 0.85 <= interval.high
    assert hits / trials == pytest.approx(0.95, abs=0.025)


def test_one_chip_has_a_mean_and_no_interval() -> None:
    got = verdict([0.9])
    assert (got.mean.estimate, got.mean.low, got.mean.half) == (0.9, None, None)
    assert str(got).startswith("mean 90.0 %, worst 90.0 of 1, KPP5 90.0 [–, –]; no interval over chips")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.98, 0.98], "mean 98.0 % ± 0.0 (95 %)"),
        # 1.984 · sd / √n: sd 0.01005, 0.1005, 0.503 and 4.02 points, n = 100.
        ([0.980, 0.9802] * 50, "mean 98.010 % ± 0.002 (95 %)"),
        ([0.980, 0.982] * 50, "mean 98.10 % ± 0.02 (95 %)"),
        ([0.980, 0.99] * 50, "mean 98.50 % ± 0.10 (95 %)"),
        ([0.90, 0.98] * 50, "mean 94.0 % ± 0.8 (95 %)"),
    ],
)
def test_an_interval_is_printed_with_a_digit_that_shows_it(values: list[float], words: str) -> None:
    assert str(verdict(values)).startswith(words)


def test_three_seeds_are_summed_up_over_seeds_with_pooled_tails() -> None:
    by_seed = {seed: accuracies(seed, 100, mean=0.8 + 0.02 * seed) for seed in range(3)}
    got = summarize(by_seed, target=0.8)
    pooled = torch.cat(list(by_seed.values()))
    assert got.mean == seeds_interval(by_seed)
    assert got.kpp == kpp(pooled)
    assert got.yield_ == yield_at(pooled, target=0.8)
    assert (got.n, got.seeds, got.refusals) == (300, 3, ())
    assert "(95 % over 3 seeds), worst" in str(got)


@pytest.mark.parametrize(("seeds", "over"), [(1, "chips, one seed"), (2, "chips of these 2 seeds")])
def test_fewer_seeds_are_summed_up_over_chips_and_labelled_so(seeds: int, over: str) -> None:
    by_seed = {seed: accuracies(seed, 100) for seed in range(seeds)}
    got = summarize(by_seed)
    assert got.mean == chips_interval(by_seed)
    assert got.mean.over == over
    assert f"(95 % over {over})" in str(got)
    assert got.refusals == (f"no interval over seeds: {seeds} seed{'s' * (seeds > 1)}, it needs 3",)


def test_seeds_of_one_chip_each_have_an_interval_from_three_seeds_on() -> None:
    assert summarize({0: [0.9], 1: [0.8], 2: [0.7]}).mean.half is not None
    two = summarize({0: [0.9], 1: [0.8]})
    assert two.mean.half is None
    assert two.mean.estimate == pytest.approx(0.85)
    assert two.refusals[0] == "no interval over chips: it needs 2 chips of every seed"


def test_a_sum_over_seeds_that_saw_random_images_keeps_only_the_mean() -> None:
    got = summarize({s: accuracies(s, 20) for s in range(3)}, whole_test=False, images=100)
    assert got.kpp is None
    assert got.mean.over == "3 seeds"
    assert "own random 100 images" in got.refusals[0]


def test_nothing_and_nonsense_are_refused() -> None:
    with pytest.raises(SampleSizeError, match="0 values"):
        verdict([])
    with pytest.raises(SampleSizeError, match="no seed"):
        summarize({})
    with pytest.raises(SampleSizeError, match="seed 1: found 0 values"):
        summarize({0: [0.9, 0.8], 1: []})
    with pytest.raises(ConfigError, match="90 % is"):
        verdict([0.9, 0.8], target=90)
