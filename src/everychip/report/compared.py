"""Every method against its controls, on the same chips, with the sentence that says what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from everychip.report.results import Group, Panel, paired
from everychip.report.wording import digits_of_points, kind_of, percent, points
from everychip.statistics.intervals import HEADLINE_SEEDS, Interval
from everychip.statistics.paired_comparison import Comparison, compare, compare_seeds

BASELINE = ("noise_injection",)
CONTROLS = (*BASELINE, "temperature")
"""What a kind is held against that is not named below: noise, and the softer loss."""
CONTROLS_OF = {
    "vanilla": (),
    "noise_injection": ("vanilla",),
    "temperature": BASELINE,
    "deep_supervision": CONTROLS,
    "over_noise": BASELINE,
    "vant": BASELINE,
    "censored": BASELINE,
    "correctnet": BASELINE,
    "distillation": CONTROLS,
    "consistency": BASELINE,
    "adversarial_weight": BASELINE,
    "sam": BASELINE,
    "samson": BASELINE,
    "irs": (*CONTROLS, "deep_supervision"),
    "ovf": (*CONTROLS, "temperature_statistics", "over_noise", "vant"),
    "temperature_statistics": CONTROLS,
}
"""What each kind of method is held against: `temperature` only where the loss rescales logits."""
AGAINST_ALL = "resilient"
"""The kind that claims to beat every other: it is held against all that are trained for noise."""

NOTABLE = 0.02
"""A difference (in accuracy) that should not be overlooked for want of data."""


@dataclass(frozen=True)
class Difference:
    """Accuracy of a method less that of its control: same σ, same seeds, same chips."""

    panel: Panel
    method: Group
    control: Group
    comparison: Comparison

    @property
    def interval(self) -> Interval:
        """The mean difference and its interval."""
        return self.comparison.difference

    @property
    def shows(self) -> Literal["better", "worse", "none"]:
        """What the interval shows: `better`, `worse`, or `none`."""
        low, high = self.interval.low, self.interval.high
        if low is None or high is None or low <= 0 <= high:
            return "none"
        return "better" if low > 0 else "worse"

    @property
    def finding(self) -> str:
        """What was found, without the numbers of the interval."""
        if self.shows != "none":
            return self.shows
        bounds = [abs(bound) for bound in (self.interval.low, self.interval.high) if bound is not None]
        if bounds and max(bounds) > NOTABLE:
            return f"no difference shown; up to {percent(max(bounds))} points remain possible"
        return "no difference shown"

    @property
    def sentence(self) -> str:
        """The finding in plain words."""
        one, two = self.method.method, self.control.method
        if self.shows == "none":
            return f"{one} differs from {two} by {points(self.interval)} points: {self.finding}{self._limits}"
        size = percent(abs(self.interval.estimate), digits=digits_of_points(self.interval))
        bounds = points(self.interval).partition(" ")[2]
        return f"{one} is {self.shows} than {two} by {size} points {bounds}{self._limits}"

    @property
    def _limits(self) -> str:
        if self.comparison.seeds >= HEADLINE_SEEDS:
            return ""
        return " (these trained networks only)"


def differences(panels: Iterable[Panel]) -> tuple[Difference, ...]:
    """Every method of every panel against each of its controls that the study has."""
    found = []
    for panel in panels:
        for group in panel.at_sigma:
            for control in _controls(group, panel):
                comparison = _compare(group, control)
                if comparison is not None:
                    found.append(Difference(panel, group, control, comparison))
    return tuple(found)


def _controls(group: Group, panel: Panel) -> list[Group]:
    kind = kind_of(group.method)
    wanted = CONTROLS_OF.get(kind, CONTROLS)
    if kind == AGAINST_ALL:
        others = dict.fromkeys(kind_of(other.method) for other in panel.at_sigma)
        wanted = tuple(other for other in others if other not in ("vanilla", AGAINST_ALL))
    return [
        other
        for kind in wanted
        for other in panel.at_sigma
        if kind_of(other.method) == kind and other is not group
    ]


def _compare(first: Group, second: Group) -> Comparison | None:
    pair = paired(first, second)
    if len(pair.first) >= HEADLINE_SEEDS:
        return compare_seeds(pair.first, pair.second)
    ones = [value for values in pair.first.values() for value in values]
    twos = [value for values in pair.second.values() for value in values]
    return compare(ones, twos) if len(ones) > 1 else None
