"""The break-even σ: up to which device noise the mean accuracy keeps a target."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from everychip.bench import Asked
from everychip.errors import ConfigError, SampleSizeError
from everychip.evaluation.monte_carlo import evaluate
from everychip.hardware.chip import effective_sigma
from everychip.hardware.hardware import Hardware
from everychip.progress import Event, Listener, listening
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import Interval

_DROP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:points?|%)?")
_STEPS = 60


@dataclass(frozen=True)
class BreakEven:
    """The nominal σ at which the mean accuracy crosses a target, with its interval.

    sigma is None where the accuracy never falls below the target up to `largest`; a missing `high` says that
    the interval is open there. of_max and of_rms: the effective noise at sigma. steps: every σ measured, with
    the mean over the chips and its interval, ascending.
    """

    target: float
    clean: float
    sigma: float | None
    low: float
    high: float | None
    of_max: float | None
    of_rms: float | None
    chips: int
    largest: float
    steps: tuple[tuple[float, Interval], ...]
    score: Score = ACCURACY

    def table(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        names = ("target", "clean", "sigma", "low", "high", "of_max", "of_rms", "chips", "largest")
        steps = [{"sigma": s, "mean": i.estimate, "low": i.low, "high": i.high} for s, i in self.steps]
        return {**{name: getattr(self, name) for name in names}, "steps": steps}

    def __str__(self) -> str:
        score = self.score
        stays = "stays above" if score.higher_is_better else "stays below"
        what = f"the mean {score.name} {'crosses' if self.sigma is not None else stays} "
        target, clean = (
            f"{score.scale * one:.4g} {score.unit}".rstrip() for one in (self.target, self.clean)
        )
        what += f"{target} (without noise {clean})"
        if self.sigma is None or self.of_rms is None:
            low = f", surely up to {self.low:.3g}" if self.low < self.largest else ""
            return f"no break-even up to σ = {self.largest:.3g}: {what}{low}"
        high = "–" if self.high is None else f"{self.high:.3g}"
        noise = f"σ_W/rms(W) {self.of_rms:.2g}"
        bounds = f"{self.sigma:.3g} [{self.low:.3g}, {high}]"
        return f"break-even σ {bounds} ({noise}), 95 % over {self.chips} chips: there {what}"


def break_even(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    target: float | None = None,
    drop: str | None = None,
    chips: int = 20,
    seed: int = 0,
    largest: float = 1.0,
    tolerance: float = 0.01,
    progress: Listener | None = None,
    **options: Any,
) -> BreakEven:
    """Find by bisection the σ at which the mean accuracy over the chips falls below a target.

    target: an accuracy, 0 … 1, or a value of the task's score; or drop: how many points (or of what
    else the score is counted in) worse than without noise, "1 point". The chips are the
    same at every σ (common random numbers), so that the curve is smooth enough to bisect; it is taken to
    fall. The interval holds every σ at which a 95 % t interval over the chips contains the target: at the
    true break-even it does so with 95 % probability, and only there does it have to, however many σ are
    looked at. tolerance: of σ, relative; the bounds are rounded outwards. largest: where the search ends.
    options: those of `evaluate` (task, score, batch_size, precision, images, mitigation, calibration).

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(200, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> found = break_even(model, hw, (x, y), target=0.9, chips=10)
    >>> found.low < found.sigma < found.high
    True
    """
    score = Asked.of(options.get("task", "classification"), options.get("score")).score
    _refuse(target, drop, chips, largest, tolerance, score)
    with listening(progress) as tell:

        def mean_at(sigma: float) -> Interval:
            tell(Event("break-even", len(curve.known), _STEPS, {"sigma": sigma}))
            here = hardware.with_sigma(sigma)
            draws = evaluate(model, here, data, chips=chips, seed=seed, progress=_silent, **options)
            return draws.verdict().mean

        curve = _Curve(mean_at, largest, tolerance)
        clean = curve.at(0.0).estimate
        goal = _goal(target, drop, clean, score)
        low = curve.crossing(lambda mean: _worse(_bad_end(mean), goal, score, missing=True))
        middle = curve.crossing(lambda mean: _worse(mean.estimate, goal, score))
        high = curve.crossing(lambda mean: _worse(_good_end(mean), goal, score))
    sigma = None if middle is None else curve.between(middle, goal)
    noise = None if sigma is None else effective_sigma(model, hardware.with_sigma(sigma))
    of_max, of_rms = (None, None) if noise is None else (noise.of_max, noise.of_rms)
    bounds = (largest if low is None else low[0]), (None if high is None else high[1])
    steps = tuple(sorted(curve.known.items()))
    return BreakEven(goal, clean, sigma, *bounds, of_max, of_rms, chips, largest, steps, score)


class _Curve:
    """The mean accuracy over σ, every σ measured at most once."""

    def __init__(self, measure: Callable[[float], Interval], largest: float, tolerance: float) -> None:
        self.measure, self.largest, self.tolerance = measure, largest, tolerance
        self.known: dict[float, Interval] = {}

    def at(self, sigma: float) -> Interval:
        if sigma not in self.known:
            self.known[sigma] = self.measure(sigma)
        return self.known[sigma]

    def crossing(self, fallen: Callable[[Interval], bool]) -> tuple[float, float] | None:
        """Two σ between which the curve falls, as close as the tolerance; None if it never does.

        The first look is where earlier searches have measured already.
        """
        if fallen(self.at(0.0)):
            return 0.0, 0.0
        low = max((s for s, mean in self.known.items() if not fallen(mean)), default=0.0)
        above = [s for s, mean in self.known.items() if fallen(mean) and s > low]
        high = min(above, default=self.largest)
        if not above and not fallen(self.at(self.largest)):
            return None
        while high - low > self.tolerance * high:
            middle = (low + high) / 2
            low, high = (low, middle) if fallen(self.at(middle)) else (middle, high)
        return low, high

    def between(self, ends: tuple[float, float], goal: float) -> float:
        """Where the straight line between two σ meets the goal."""
        (low, high), (above, below) = ends, (self.at(end).estimate for end in ends)
        return low if above <= below else low + (high - low) * (above - goal) / (above - below)


def _bad_end(mean: Interval) -> float | None:
    return mean.low if mean.score.higher_is_better else mean.high


def _good_end(mean: Interval) -> float | None:
    return mean.high if mean.score.higher_is_better else mean.low


def _worse(value: float | None, goal: float, score: Score, *, missing: bool = False) -> bool:
    """Whether a mean, or a bound of it, misses the goal; missing: whether one that is refused does."""
    return missing if value is None else score.sign * value < score.sign * goal


def _goal(target: float | None, drop: str | None, clean: float, score: Score) -> float:
    points = 0.0 if drop is None else _points(drop, score)
    goal = clean - score.sign * points / score.scale if target is None else target
    low, high = score.within or (-math.inf, math.inf)
    if not (low < goal < high and score.sign * goal < score.sign * clean):
        found, without = (f"{score.scale * one:.4g} {score.unit}".rstrip() for one in (goal, clean))
        between = (
            f"an {score.name} between 0 and that" if score == ACCURACY else f"a {score.name} worse than that"
        )
        raise ConfigError(
            "break_even.target" if drop is None else "break_even.drop",
            found=f"{found}, while the {score.name} without noise is {without}",
            expected=between,
        )
    return goal


def _points(drop: str, score: Score) -> float:
    found = _DROP.fullmatch(str(drop).strip())
    if found is None or float(found[1]) == 0 or (score.unit == "%" and float(found[1]) >= 100):
        expected = 'points of accuracy, as in "1 point"' if score == ACCURACY else f'{score.step}, as in "1"'
        raise ConfigError("break_even.drop", found=repr(drop), expected=expected)
    return float(found[1])


def _refuse(
    target: float | None, drop: str | None, chips: int, largest: float, tolerance: float, score: Score
) -> None:
    if (target is None) == (drop is None):
        found = "neither target nor drop" if target is None else "both target and drop"
        raise ConfigError("break_even", found=found, expected='one: target=0.9 or drop="1 point"')
    low, high = score.within or (-math.inf, math.inf)
    if target is not None and not low < target < high:
        expected = (
            "an accuracy between 0 and 1" if score == ACCURACY else f"a {score.name} of {low:g} … {high:g}"
        )
        raise ConfigError("break_even.target", found=f"{target:g}", expected=expected)
    if chips < 2:
        raise SampleSizeError("break_even.chips", found=f"{chips}", expected="at least 2 for an interval")
    if not 0 < largest < math.inf:
        raise ConfigError("break_even.largest", found=f"{largest:g}", expected="a σ above 0")
    if not 1e-4 <= tolerance < 1:
        raise ConfigError("break_even.tolerance", found=f"{tolerance:g}", expected="1e-4 … 1, of σ")


def _silent(event: Event) -> None:
    """The bar counts σ, not chips."""
