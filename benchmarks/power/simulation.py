"""Evaluations in two stages on chips whose right answers are known, for what their intervals cover."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator as Numbers  # noqa: TID251 (its seeds have addresses here)
from numpy.random import default_rng  # noqa: TID251 (likewise)

from everychip.rng import rng_for
from everychip.statistics.stopping import Until
from everychip.statistics.two_stage import PILOT_CHIPS, PILOT_IMAGES, Components, TwoStage
from everychip.statistics.verdict import verdict

MOST = 2500
"""The most chips of a trial."""


def numbers(*path: object) -> Numbers:
    """Numpy's laws, of which PyTorch lacks two, from an address."""
    seed = int(torch.randint(2**62, (1,), generator=rng_for(0, *map(str, path))))
    return default_rng(seed)


def beta_chips(chips: int, images: int) -> np.ndarray:
    """How many of the images each chip answers right, skewed to the left as chips are."""
    return np.round((0.7 + 0.25 * numbers("beta").beta(5.0, 1.2, chips)) * images)


def trial(good: np.ndarray, total: int, rule: Until, rng: Numbers) -> tuple[TwoStage, list[float]]:
    """One evaluation: a pilot of its first chips, the plan, and chips until it is enough."""
    numbers = rng.integers(len(good), size=MOST)
    drawn = good[numbers].astype(int)
    k = min(PILOT_IMAGES, total)
    seen = rng.hypergeometric(drawn[:PILOT_CHIPS], total - drawn[:PILOT_CHIPS], k) / k
    parts = Components.of(torch.from_numpy(seen), images=k, total=total)
    plan = TwoStage.planned(parts, half_width=rule.half_width, least=rule.least, most=len(drawn), total=total)
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
