"""The interval of a verdict holds on normal, skewed and failing chips, or the verdict says what it misses."""

from __future__ import annotations

import pytest
import torch
from scipy.special import betaincinv

from everychip.rng import rng_for
from everychip.statistics.percentiles import unseen
from everychip.statistics.verdict import Verdict, verdict

SIZES = (10, 20, 50, 100, 200)
TRIALS, LEAST = 400, 0.92
SLACK = 0.02  # one and a half standard errors of a share of 92 % of 400
FAILED = 0.7


def beta(a: float, b: float, *shape: int) -> tuple[torch.Tensor, float]:
    share = torch.rand(*shape, generator=rng_for(0, "beta", a, b, *shape), dtype=torch.float64)
    return torch.from_numpy(betaincinv(a, b, share.numpy())), a / (a + b)


def normal(*shape: int) -> tuple[torch.Tensor, float]:
    noise = torch.randn(*shape, generator=rng_for(0, "normal", *shape), dtype=torch.float64)
    return 0.9 + 0.02 * noise, 0.9


def failing(share: float, low: float, *shape: int) -> tuple[torch.Tensor, float]:
    """Chips at 95 %, a share of which fails."""
    rng = rng_for(0, "failing", share, low, *shape)
    fails = torch.rand(*shape, generator=rng, dtype=torch.float64) < share
    noise = torch.randn(*shape, generator=rng, dtype=torch.float64)
    return torch.where(fails, low + 0.02 * noise, 0.95 + 0.01 * noise), share * low + (1 - share) * 0.95


def holds(found: Verdict, truth: float) -> bool:
    assert found.mean.low is not None
    assert found.mean.high is not None
    return found.mean.low <= truth <= found.mean.high


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "population",
    [normal, lambda *shape: beta(20.0, 2.0, *shape), lambda *shape: beta(5.0, 0.5, *shape)],
    ids=["normal", "beta(20, 2)", "beta(5, 0.5)"],
)
def test_without_failures_the_mean_is_in_its_interval_as_often_as_it_says(population, n: int) -> None:
    values, truth = population(TRIALS, n)
    covered = sum(holds(verdict(x), truth) for x in values) / TRIALS
    assert covered > LEAST - SLACK


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("share", "low"), [(0.01, 0.1), (0.01, 0.5), (0.02, 0.3), (0.05, 0.1), (0.05, 0.5)])
def test_where_chips_fail_the_mean_is_in_its_interval_or_the_verdict_warns(
    share: float, low: float, n: int
) -> None:
    values, truth = failing(share, low, TRIALS, n)
    silent = students = 0
    for x in values:
        found = verdict(x)
        if not holds(found, truth):
            # What it says must be the truth: so many failures may be unseen, or few chips carry it.
            said = "may be unseen" in str(found) and unseen(n) >= share
            silent += not (said or "rests on a few bad chips" in str(found))
        half = 1.96 * float(x.std()) / n**0.5
        students += abs(float(x.mean()) - truth) > half
    assert 1 - silent / TRIALS > LEAST
    if share * n < 3:
        assert 1 - students / TRIALS < LEAST, "a t interval alone does not do"


@pytest.mark.parametrize("n", [20, 50, 100, 200])
@pytest.mark.parametrize(("share", "low"), [(0.01, 0.1), (0.02, 0.3), (0.05, 0.5)])
def test_where_a_failure_was_seen_the_interval_allows_for_more_of_them(
    share: float, low: float, n: int
) -> None:
    values, truth = failing(share, low, TRIALS, n)
    seen = values[values.min(dim=1).values < FAILED]
    assert sum(holds(verdict(x), truth) for x in seen) / len(seen) > LEAST


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05])
def test_the_share_of_failures_that_may_be_unseen_is_the_one_that_hides_in_one_sample_of_twenty(
    share: float,
) -> None:
    n = next(n for n in range(1, 1000) if unseen(n) < share)
    assert (1 - share) ** n < 0.05 < (1 - share) ** (n - 1)


def test_enough_chips_or_a_failure_that_was_seen_leave_nothing_unseen_to_speak_of() -> None:
    whole = 0.9 + 0.01 * torch.randn(300, generator=rng_for(1), dtype=torch.float64)
    assert verdict(whole).cautions == ()
    assert verdict(whole[:299]).cautions == ("failures of up to 1 % of chips may be unseen",) * (
        unseen(299) > 0.01
    )
    assert verdict(whole[:100]).cautions == ("failures of up to 3 % of chips may be unseen",)
    failed = whole.clone()
    failed[:2] = 0.1
    assert verdict(failed[:200]).cautions == ()
    assert verdict(failed[:50]).cautions == ("the mean rests on a few bad chips among 50: take 100 or more",)
    assert "]" in str(verdict(failed[:200])).split("(95 %")[0]
