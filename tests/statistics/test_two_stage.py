"""Two-stage sampling: the spread is told apart, the plan is the cheapest, and its interval covers 95 %."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from everychip.statistics.two_stage import Components, TwoStage

TRIALS = 1500
POWER = Path(__file__).parents[2] / "benchmarks" / "power"
sys.path.insert(0, str(POWER))
from simulation import beta_chips, coverage, numbers  # noqa: E402 (a script of the benchmarks)


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


@pytest.mark.slow
@pytest.mark.parametrize("text", ["±0.5 two-stage", "±1 two-stage failures 5 %"])
def test_on_skewed_chips_the_interval_covers_what_it_says(text: str) -> None:
    good = beta_chips(50_000, 2000)
    spread = good / 2000
    assert ((spread - spread.mean()) ** 3).mean() / spread.std() ** 3 < -0.9, "skewed chips"
    assert 0.94 <= coverage(good, 2000, text, trials=TRIALS) <= 0.96


@pytest.mark.slow
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
