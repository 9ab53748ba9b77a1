"""The break-even σ: up to which device noise the mean accuracy keeps a target."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic.dataclasses import dataclass
from torch import nn

from everychip.config.arguments import a, index, number, one_of, optional, takes, whole
from everychip.data import as_arrays
from everychip.errors import ConfigError, SampleSizeError
from everychip.evaluation.monte_carlo import evaluate
from everychip.hardware.chip import effective_sigma
from everychip.hardware.hardware import Hardware
from everychip.mitigate import Mitigation
from everychip.network.running import Precision
from everychip.progress import Event, Listener, listening
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

    def table(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        names = ("target", "clean", "sigma", "low", "high", "of_max", "of_rms", "chips", "largest")
        steps = [{"sigma": s, "mean": i.estimate, "low": i.low, "high": i.high} for s, i in self.steps]
        return {**{name: getattr(self, name) for name in names}, "steps": steps}

    def __str__(self) -> str:
        what = f"the mean accuracy {'crosses' if self.sigma is not None else 'stays above'} "
        what += f"{100 * self.target:.4g} % (without noise {100 * self.clean:.4g} %)"
        if self.sigma is None or self.of_rms is None:
            low = f", surely up to {self.low:.3g}" if self.low < self.largest else ""
            return f"no break-even up to σ = {self.largest:.3g}: {what}{low}"
        high = "–" if self.high is None else f"{self.high:.3g}"
        noise = f"σ_W/rms(W) {self.of_rms:.2g}"
        bounds = f"{self.sigma:.3g} [{self.low:.3g}, {high}]"
        return f"break-even σ {bounds} ({noise}), 95 % over {self.chips} chips: there {what}"


@takes(
    model=a(nn.Module, "a torch.nn.Module"),
    hardware=a(Hardware, "an everychip.Hardware"),
    target=optional(number(above=0, below=1)),
    chips=whole(),
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
        target: an accuracy, 0 … 1.
        drop: instead of a target, points below the accuracy without noise: "1 point".
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
    _refuse(target, drop, chips)
    test = as_arrays(data, split="test")
    asked: dict[str, Any] = {
        "chips": chips,
        "seed": seed,
        "batch_size": batch_size,
        "precision": precision,
        "images": images,
        "mitigation": mitigation,
        "calibration": calibration,
    }

    def mean_at(sigma: float) -> Interval:
        draws = evaluate(model, hardware.with_sigma(sigma), test, progress=_silent, **asked)
        return draws.verdict().mean

    with listening(progress) as tell:
        curve = _Curve(mean_at, tell, largest, tolerance)
        clean = curve.at(0.0).estimate
        goal = _goal(target, drop, clean)
        ends = curve.ends(goal)
    return _found(model, hardware, curve, ends, goal=goal, clean=clean, chips=chips)


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
) -> BreakEven:
    low, middle, high = ends
    sigma = None if middle is None else curve.between(middle, goal)
    noise = None if sigma is None else effective_sigma(model, hardware.with_sigma(sigma))
    of_max, of_rms = (None, None) if noise is None else (noise.of_max, noise.of_rms)
    bounds = (curve.largest if low is None else low[0]), (None if high is None else high[1])
    steps = tuple(sorted(curve.known.items()))
    return BreakEven(goal, clean, sigma, *bounds, of_max, of_rms, chips, curve.largest, steps)


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

    def ends(self, goal: float) -> tuple[_Ends, _Ends, _Ends]:
        """Around the σ where the lower bound of the mean, the mean and its upper bound meet the goal."""
        return (
            self.crossing(lambda mean: (mean.low or 0.0) < goal),
            self.crossing(lambda mean: mean.estimate < goal),
            self.crossing(lambda mean: (1.0 if mean.high is None else mean.high) < goal),
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


def _goal(target: float | None, drop: str | None, clean: float) -> float:
    points = 0.0 if drop is None else _points(drop)
    goal = clean - points / 100 if target is None else target
    if not 0 < goal < clean:
        raise ConfigError(
            "break_even.target" if drop is None else "break_even.drop",
            found=f"{100 * goal:.4g} %, while the accuracy without noise is {100 * clean:.4g} %",
            expected="an accuracy between 0 and that",
        )
    return goal


def _points(drop: str) -> float:
    found = _DROP.fullmatch(str(drop).strip())
    if found is None or not 0 < float(found[1]) < 100:
        raise ConfigError("break_even.drop", found=repr(drop), expected='points of accuracy, as in "1 point"')
    return float(found[1])


def _refuse(target: float | None, drop: str | None, chips: int) -> None:
    if (target is None) == (drop is None):
        found = "neither target nor drop" if target is None else "both target and drop"
        raise ConfigError("break_even", found=found, expected='one: target=0.9 or drop="1 point"')
    if chips < 2:
        raise SampleSizeError("break_even.chips", found=f"{chips}", expected="at least 2 for an interval")


def _silent(event: Event) -> None:
    """The bar counts σ, not chips."""
