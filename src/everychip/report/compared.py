"""Every method against its controls, on the same chips, with the sentence that says what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from everychip.report.method_kinds import method_of
from everychip.report.results import Group, Panel, paired
from everychip.report.wording import bounds_in_points, digits_of_points, percent, points
from everychip.statistics.intervals import HEADLINE_SEEDS, Interval
from everychip.statistics.paired_comparison import Comparison, compare, compare_seeds

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
        up = low > 0
        return "better" if up == self.interval.score.higher_is_better else "worse"

    @property
    def finding(self) -> str:
        """What was found, without the numbers of the interval."""
        if self.shows != "none":
            return self.shows
        bounds = [abs(bound) for bound in (self.interval.low, self.interval.high) if bound is not None]
        score = self.interval.score
        if bounds and (max(bounds) > NOTABLE or score.unit != "%"):
            size = percent(max(bounds), score=score)
            return f"no difference shown; up to {size} {score.step} remain possible"
        return "no difference shown"

    @property
    def sentence(self) -> str:
        """The finding in plain words."""
        one, two, score = self.method.method, self.control.method, self.interval.score
        step = score.step
        if self.shows == "none":
            return f"{one} differs from {two} by {points(self.interval)} {step}: {self.finding}{self._limits}"
        size = percent(abs(self.interval.estimate), digits=digits_of_points(self.interval), score=score)
        bounds = bounds_in_points(self.interval)
        return f"{one} is {self.shows} than {two} by {size} {step} {bounds}{self._limits}"

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
    """The groups of a panel that a method is compared with, in the order that the method gives."""
    present = dict.fromkeys(other.kind for other in panel.at_sigma)
    return [
        other
        for kind in method_of(group.kind).compared_with(present)
        for other in panel.at_sigma
        if other.kind == kind and other is not group
    ]


def _compare(first: Group, second: Group) -> Comparison | None:
    pair = paired(first, second)
    if len(pair.first) >= HEADLINE_SEEDS:
        return compare_seeds(pair.first, pair.second, score=first.score)
    ones = [value for values in pair.first.values() for value in values]
    twos = [value for values in pair.second.values() for value in values]
    return compare(ones, twos, score=first.score) if len(ones) > 1 else None
