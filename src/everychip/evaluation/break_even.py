"""The break-even σ: up to which device noise the mean accuracy keeps a target."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic.dataclasses import dataclass
from torch import nn

from everychip.charts.notebook import Shown
from everychip.config.arguments import a, index, number, one_of, optional, takes, whole
from everychip.errors import ConfigError, SampleSizeError
from everychip.evaluation.bench import Asked
from everychip.evaluation.monte_carlo import evaluate
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.chip import effective_sigma
from everychip.hardware.hardware import Hardware
from everychip.mitigate import Mitigation
from everychip.network.running import Precision
from everychip.progress import Event, Listener, listening
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import Interval
from everychip.tasks import OwnScore, Task, a_score

_DROP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:points?|%)?")
_STEPS = 60


@dataclass(frozen=True, repr=False)
class BreakEven(Shown):
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


@takes(
    model=MODEL,
    hardware=HARDWARE,
    chips=whole(),
    target=optional(number()),
    drop=optional(a(str, 'how much worse, such as "1 point"')),
    score=optional(a_score),
    seed=index,
    largest=number(above=0),
    tolerance=number(least=1e-4, below=1),
    batch_size=whole(least=1),
    images=optional(whole(least=1)),
    precision=one_of(*get_args(Precision)),
)
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
    batch_size: int = 500,
    precision: Precision = "float32",
    images: int | None = None,
    mitigation: Mitigation | Mapping[str, Any] | str | None = None,
    calibration: Any = None,
    task: Task | Mapping[str, Any] | str = "classification",
    score: Callable[..., Any] | OwnScore | None = None,
    progress: Listener | None = None,
) -> BreakEven:
    """Find by bisection the σ at which the mean accuracy over the chips falls below a target.

    The interval holds every σ at which a 95 % t interval over the chips contains the target: at the
    true break-even it does so with 95 % probability, and only there does it have to, however many σ are
    looked at.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        data: test data, in any form that `evaluate` takes.
        target: an accuracy, 0 … 1, or a value of the task's score.
        drop: instead of a target, how much worse than without noise, in points (or the score's own unit), as
            in "1 point".
        chips: how many, the same at every σ (common random numbers), so that the curve is smooth enough to
            bisect; it is taken to fall.
        seed: of all draws, a whole number.
        largest: where the search ends, a σ.
        tolerance: of σ, relative; the bounds are rounded outwards.
        batch_size: inputs that are run at once.
        precision: of the products: "float32" or "bfloat16".
        images: test images per chip, as in `evaluate`.
        mitigation: what is done to each chip, as in `evaluate`.
        calibration: training data for mitigation and converters.
        task: the network's task, as in `evaluate`.
        score: a function to judge chips by, as in `evaluate`.
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.

    Returns:
        The σ with its interval, its effective noise, and every σ that was measured.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(200, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> found = break_even(model, hw, (x, y), target=0.9, chips=10)
    >>> found.low < found.sigma < found.high
    True
    """
    judged = Asked.of(task, score).score
    _refuse(target, drop, chips, judged)
    asked: dict[str, Any] = {"chips": chips, "seed": seed, "task": task, "score": score, "images": images}
    asked |= {"batch_size": batch_size, "precision": precision}
    asked |= {"mitigation": mitigation, "calibration": calibration}

    def mean_at(sigma: float) -> Interval:
        draws = evaluate(model, hardware.with_sigma(sigma), data, progress=_silent, **asked)
        return draws.verdict().mean

    with listening(progress) as tell:
        curve = _Curve(mean_at, tell, largest, tolerance)
        clean = curve.at(0.0).estimate
        goal = _goal(target, drop, clean, judged)
        ends = curve.ends(goal, judged)
    return _found(model, hardware, curve, ends, goal=goal, clean=clean, chips=chips, score=judged)


_Ends = tuple[float, float] | None
"""Two σ between which the curve falls; None where it does not."""


def _found(
    model: nn.Module,
    hardware: Hardware,
    curve: _Curve,
    ends: tuple[_Ends, _Ends, _Ends],
    *,
    goal: float,
    clean: float,
    chips: int,
    score: Score,
) -> BreakEven:
    low, middle, high = ends
    sigma = None if middle is None else curve.between(middle, goal)
    noise = None if sigma is None else effective_sigma(model, hardware.with_sigma(sigma))
    of_max, of_rms = (None, None) if noise is None else (noise.of_max, noise.of_rms)
    bounds = (curve.largest if low is None else low[0]), (None if high is None else high[1])
    steps = tuple(sorted(curve.known.items()))
    return BreakEven(goal, clean, sigma, *bounds, of_max, of_rms, chips, curve.largest, steps, score)


class _Curve:
    """The mean accuracy over σ, every σ measured at most once."""

    def __init__(
        self, measure: Callable[[float], Interval], tell: Listener, largest: float, tolerance: float
    ) -> None:
        self.measure, self.tell, self.largest, self.tolerance = measure, tell, largest, tolerance
        self.known: dict[float, Interval] = {}

    def at(self, sigma: float) -> Interval:
        if sigma not in self.known:
            self.tell(Event("break-even", len(self.known), _STEPS, {"sigma": sigma}))
            self.known[sigma] = self.measure(sigma)
        return self.known[sigma]

    def ends(self, goal: float, score: Score) -> tuple[_Ends, _Ends, _Ends]:
        """Around the σ where the bad end of the mean's interval, the mean and its good end meet the goal."""
        return (
            self.crossing(lambda mean: _worse(_bad_end(mean), goal, score, missing=True)),
            self.crossing(lambda mean: _worse(mean.estimate, goal, score)),
            self.crossing(lambda mean: _worse(_good_end(mean), goal, score)),
        )

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


def _refuse(target: float | None, drop: str | None, chips: int, score: Score) -> None:
    if (target is None) == (drop is None):
        found = "neither target nor drop" if target is None else "both target and drop"
        raise ConfigError("break_even", found=found, expected='one: target=0.9 or drop="1 point"')
    low, high = score.within or (-math.inf, math.inf)
    if target is not None and not low < target < high:
        expected = (
            "a number, more than 0 and less than 1"
            if score == ACCURACY
            else f"a {score.name} of {low:g} … {high:g}"
        )
        raise ConfigError("break_even.target", found=f"{target:g}", expected=expected)
    if chips < 2:
        raise SampleSizeError("break_even.chips", found=f"{chips}", expected="at least 2 for an interval")


def _silent(event: Event) -> None:
    """The bar counts σ, not chips."""
