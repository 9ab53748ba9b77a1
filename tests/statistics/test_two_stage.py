"""Two-stage sampling: the spread is told apart, the plan is the cheapest, and its interval covers 95 %."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from everychip.rng import rng_for
from everychip.statistics.stopping import Until
from everychip.statistics.two_stage import PILOT_CHIPS, PILOT_IMAGES, Components, TwoStage
from everychip.statistics.verdict import verdict

POWER = Path(__file__).parents[2] / "benchmarks" / "power"
sys.path.insert(0, str(POWER))


MOST, TRIALS = 2500, 1500


def numbers(*path: object) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng_for(0, *map(str, path)))))


def beta_chips(chips: int, images: int) -> np.ndarray:
    """How many of the images each chip answers right, skewed to the left as chips are."""
    return np.round((0.7 + 0.25 * numbers("beta").beta(5.0, 1.2, chips)) * images)


def test_the_two_variances_are_those_that_the_chips_were_made_with() -> None:
    rng, total, images = numbers("components"), 2000, 40
    good = np.round(np.clip(rng.normal(0.8, 0.05, 20_000), 0, 1) * total).astype(int)
    seen = rng.hypergeometric(good, total - good, images) / images
    parts = Components.of(torch.from_numpy(seen), images=images, total=total)
    share = good / total
    assert math.sqrt(parts.chips) == pytest.approx(share.std(), rel=0.03)
    # Of N images of which a share a is right, S² = N/(N−1)·a·(1 − a).
    assert parts.images == pytest.approx((total / (total - 1) * share * (1 - share)).mean(), rel=0.02)
    assert np.var(seen) == pytest.approx(float(parts.variance(torch.tensor(40.0), total=total)), rel=0.02)


def test_a_chip_that_sees_all_images_has_no_spread_of_images() -> None:
    parts = Components.of([0.9, 0.8, 0.7], images=50, total=50)
    assert parts.chips == pytest.approx(0.01)
    assert float(parts.variance(torch.tensor(50.0), total=50)) == pytest.approx(0.01)


@pytest.mark.parametrize("least", [20, 60, 300])
@pytest.mark.parametrize(("chips", "images"), [(0.02, 0.3), (0.05, 0.45), (0.005, 0.2), (0.0, 0.3)])
def test_the_plan_is_the_cheapest_of_all_numbers_of_images(chips: float, images: float, least: int) -> None:
    parts, h, total, cost = Components(chips**2, images**2), 0.005, 1000, 20

    def spent(k: int) -> float:
        n = max(least, math.ceil(1.959963984540054**2 * (chips**2 + images**2 * (1 / k - 1 / total)) / h**2))
        return math.inf if n > 5000 else n * (cost + k)

    plan = TwoStage.planned(parts, half_width=h, least=least, most=5000, total=total, chip=cost)
    assert spent(plan.images) == min(spent(k) for k in range(1, total + 1))


def test_without_a_least_number_it_is_cochrans_optimum() -> None:
    parts = Components(0.03**2, 0.4**2)
    plan = TwoStage.planned(parts, half_width=0.001, least=2, most=10**9, total=10**5, chip=20)
    assert plan.images == pytest.approx(math.sqrt(20 * 0.4**2 / 0.03**2), rel=0.03)


def test_where_the_chips_cannot_do_it_every_image_is_taken() -> None:
    plan = TwoStage.planned(Components(0.1**2, 0.4**2), half_width=0.001, least=300, most=400, total=777)
    assert plan.images == 777


def trial(
    good: np.ndarray, total: int, rule: Until, rng: np.random.Generator
) -> tuple[TwoStage, list[float]]:
    """One evaluation: a pilot of its first chips, the plan, and chips until it is enough."""
    numbers = rng.integers(len(good), size=MOST)
    drawn = good[numbers].astype(int)
    k = min(PILOT_IMAGES, total)
    seen = rng.hypergeometric(drawn[:PILOT_CHIPS], total - drawn[:PILOT_CHIPS], k) / k
    parts = Components.of(torch.from_numpy(seen), images=k, total=total)
    how = {"half_width": rule.half_width, "least": rule.least, "most": len(drawn), "total": total}
    plan = TwoStage.planned(parts, **how)
    values = rng.hypergeometric(drawn, total - drawn, plan.images) / plan.images
    stops = plan.stops()
    n = next(n for n, value in enumerate([*values.tolist(), 0.0], 1) if n > MOST or stops(value))
    assert n <= MOST
    return plan, values[:n].tolist()


def coverage(good: np.ndarray, total: int, text: str, *, trials: int) -> float:
    truth = float(good.mean()) / total
    rule, rng = Until.parse(text), numbers(text, total, truth)
    covered = 0
    for _ in range(trials):
        plan, values = trial(good, total, rule, rng)
        mean = plan.verdict(verdict(values, whole_test=False), values).mean
        assert mean.low is not None
        assert mean.high is not None
        assert mean.half is not None
        assert mean.half <= rule.half_width
        covered += mean.low <= truth <= mean.high
    return covered / trials


@pytest.mark.parametrize("text", ["±0.5 two-stage", "±1 two-stage failures 5 %"])
def test_on_skewed_chips_the_interval_covers_what_it_says(text: str) -> None:
    good = beta_chips(50_000, 2000)
    spread = good / 2000
    assert ((spread - spread.mean()) ** 3).mean() / spread.std() ** 3 < -0.9, "skewed chips"
    assert 0.94 <= coverage(good, 2000, text, trials=TRIALS) <= 0.96


@pytest.mark.parametrize(
    "name",
    [
        "digits-lenet-gaussian-0.3",
        "vgg8w16-cifar10-ramp-clip-rram1-0.4",
        "vgg8w16-cifar10-ramp-clip-rram1-0.2",
    ],
)
def test_on_real_chips_the_interval_covers_what_it_says(name: str) -> None:
    from populations import population

    right = population(name)
    good = right.sum(1).numpy()
    assert 0.94 <= coverage(good, right.shape[1], "±0.5 two-stage", trials=TRIALS) <= 0.96
