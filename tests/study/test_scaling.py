"""The model of a study on many workers, beside a simulation that knows nothing of its formulas."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from everychip.study.scaling import Plan


def simulated(plan: Plan, rng: np.random.Generator) -> float:
    """Hours of one study: workers take runs from a queue, and die by a Poisson clock, the run with them."""
    free = [plan.start] * plan.workers
    heapq.heapify(free)
    last = driver = 0.0
    for _ in range(plan.runs):
        now = heapq.heappop(free)
        while True:
            needed = plan.seconds + plan.overhead
            death = rng.exponential(3600 / plan.faults) if plan.faults else float("inf")
            if death >= needed:
                now += needed
                break
            now += death + plan.start
        heapq.heappush(free, now)
        driver = max(driver, now) + plan.serial if plan.serial else driver
        last = max(last, now)
    return max(last, driver) / 3600


@pytest.mark.parametrize("faults", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("workers", [10, 1000])
def test_a_thousand_workers_take_as_long_as_the_model_says(workers: int, faults: float) -> None:
    plan = Plan(runs=20 * workers, seconds=900, workers=workers, overhead=2, start=40, faults=faults)
    rng = np.random.default_rng(7)
    hours = np.mean([simulated(plan, rng) for _ in range(2000 // workers)])
    # Simulated workers that are done early help the others, and wait for the last one.
    assert plan.hours() == pytest.approx(hours, rel=0.03 if faults == 0 else 0.08)


def test_a_driver_that_cannot_keep_up_is_the_limit() -> None:
    plan = Plan(runs=10_000, seconds=10, workers=1000, serial=0.05)
    assert plan.hours() == pytest.approx(10_000 * 0.05 / 3600)
    assert plan.efficiency() == pytest.approx(0.2, rel=1e-9)


def test_without_workers_there_is_no_plan() -> None:
    with pytest.raises(Exception, match="workers"):
        Plan(runs=1, seconds=1, workers=0)
