"""When an evaluation may stop: as soon as the mean is known well enough, by an interval one may watch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from everychip.errors import ConfigError
from everychip.scores import ACCURACY, Score
from everychip.statistics.confidence_sequences import Sequential, SequentialT
from everychip.statistics.intervals import Interval, Values, sample
from everychip.statistics.verdict import RARE, Verdict

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_GRAMMAR = re.compile(
    rf"(?:±|\+/?-)\s*{_NUMBER}\s*(?:points?|%)?"
    rf"(?:(?P<bounded>\s+bernstein)|(?P<staged>,?\s+two-stage)?(?:,?\s+failures\s+(?P<rare>{_NUMBER})\s*%)?)"
)
_SHARE = (0.0, 1.0)
MOST = 0.15
"""The largest share of failing chips to look for: 20 chips are the least that a sequence may stop at."""
_FIXED = "a number of chips fixed beforehand, and these were watched"


@dataclass(frozen=True)
class Until:
    """A half-width that the interval of the mean must reach before an evaluation stops.

    half_width: a fraction (±0.2 points is 0.002). bounded: False watches with `SequentialT`, which holds for
    chips that are roughly normal but for a share of at least `failures` that fail: it never stops before
    3 / failures chips, 300 for 1 %, of which one or more failures show with 95 % probability. True watches
    with `Sequential`, which assumes nothing, not even so large a share, and needs thousands. two_stage: the
    number of images a chip is chosen, too, after a pilot (`TwoStage`).

    >>> Until.parse("±0.2").least, Until.parse("±0.2 failures 5 %").least
    (300, 60)
    >>> Until.parse("±0.2 bernstein").least
    2460
    """

    half_width: float
    bounded: bool = False
    failures: float = RARE
    two_stage: bool = False

    @classmethod
    def parse(cls, text: Any, *, chips: int | None = None, score: Score = ACCURACY) -> Until:
        """Read "±0.2", "±0.2 failures 5 %", "±0.2 bernstein" or "±0.5 two-stage" (with failures, or not).

        `chips` is the most that may be spent.

        The half-width is in points of a score in percent, else in the score's own unit.
        """
        found = _GRAMMAR.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            raise _no_rule(text, score)
        points, bounded = float(found[1]), found["bounded"] is not None
        if bounded:
            _must_be_a_share(text, score)
        if points == 0 or (score.unit == "%" and not points < 50):
            raise ConfigError(
                "evaluate.until", found=repr(text), expected="more than 0 and less than 50 points"
            )
        failures = RARE if found["rare"] is None else float(found["rare"]) / 100
        if not 0 < failures <= MOST:
            raise ConfigError(
                "evaluate.until", found=repr(text), expected=f"failures of more than 0 and up to {MOST:.0%}"
            )
        staged = found["staged"] is not None
        until = cls(points / score.scale, bounded=bounded, failures=failures, two_stage=staged)
        if chips is not None and chips < until.least:
            raise ConfigError(
                "evaluate.until",
                found=f"{text!r} with chips = {chips}",
                expected=f"at least {until.least} chips, for it cannot stop before",
                remedy="chips is the most that may be spent: raise it"
                + (', or trust that failures are not rare: leave out "bernstein"' if bounded else "")
                + ("" if bounded else ', or say which share of failing chips must show: "failures 5 %"'),
            )
        return until

    @property
    def least(self) -> int:
        """The number of chips before which it never stops, whatever they say."""
        if not self.bounded:
            return math.ceil(3 / self.failures - 1e-9)
        return math.ceil(math.log(2 / 0.05) / (0.75 * self.half_width))

    def watch(self, *, level: float = 0.95) -> Sequential | SequentialT:
        """A fresh confidence sequence of the kind that is requested."""
        return Sequential(level=level) if self.bounded else SequentialT(level=level, least=self.least)

    def interval(self, values: Values, *, level: float = 0.95, score: Score = ACCURACY) -> Interval:
        """The mean of the chips so far with the interval that holds although they were watched."""
        watch = self.watch(level=level)
        watch.update(sample(values, where="until").tolist())
        found = watch.interval
        over = "chips, watched" + (", no law assumed" if self.bounded else "")
        least, most = score.within or (-math.inf, math.inf)
        low, high = (None if b is None else min(max(b, least), most) for b in (found.low, found.high))
        return replace(found, low=low, high=high, over=over, score=score)

    def verdict(self, fixed: Verdict, values: Values) -> Verdict:
        """The verdict on watched chips: what holds for a number of chips fixed beforehand is taken out."""
        score = fixed.score
        mean = self.interval(values, level=fixed.mean.level, score=score)
        refusals = [mean.refusal] if mean.refusal else []
        if mean.half is None or mean.half > self.half_width:
            refusals.append(f"±{score.scale * self.half_width:g} was not reached in {fixed.n} chips")
        bare = without_fixed_bounds(fixed)
        rare = f"failures rarer than {100 * self.failures:g} % of chips may be unseen"
        cautions = () if self.bounded else fixed.cautions or (rare,)
        return replace(bare, mean=mean, refusals=(*bare.refusals, *refusals), cautions=cautions)


def without_fixed_bounds(fixed: Verdict) -> Verdict:
    """The verdict without the bounds of KPP and yield, which need a number of chips fixed beforehand.

    Args:
        fixed: the verdict on so many chips.

    Returns:
        Its estimates, and one refusal that names what has no bounds.
    """
    names = [f"KPP{fixed.k:g}"] * (fixed.kpp is not None) + ["yield"] * (fixed.yield_ is not None)
    percentile = None if fixed.kpp is None else fixed.kpp.refusal
    kept = tuple(words for words in fixed.refusals if words != percentile)
    said = (f"no bounds of {' and '.join(names)}: they need {_FIXED}",) if names else ()
    bare = replace(fixed, kpp=_bare(fixed.kpp), yield_=_bare(fixed.yield_))
    return replace(bare, refusals=(*kept, *said))


def _no_rule(text: Any, score: Score) -> ConfigError:
    """The line about what is no rule of stopping, with those that the score has."""
    step = "points of accuracy" if score == ACCURACY else f"{score.step} of {score.name}"
    forms = ["±0.2", "±0.2 failures 5 %"] + ["±0.2 bernstein"] * (score.within == _SHARE)
    shown = ", ".join(f'"{form}"' for form in forms + ["±0.5 two-stage"] * (score == ACCURACY))
    return ConfigError("evaluate.until", found=repr(text), expected=f"a half-width in {step}, as in {shown}")


def _must_be_a_share(text: str, score: Score) -> None:
    if score.within != _SHARE:
        raise ConfigError(
            "evaluate.until",
            found=f"{text!r} for {score.name}",
            expected="a score of 0 … 1, which the bounded sequence needs",
            remedy='leave out "bernstein"',
        )


def _bare(interval: Interval | None) -> Interval | None:
    return None if interval is None else replace(interval, low=None, high=None, refusal=f"it needs {_FIXED}")


def enough(until: Until | None) -> Callable[[float], bool]:
    """Takes one chip's value after another, and says when the mean is known well enough; None, never.

    >>> stops = enough(Until.parse("±1"))
    >>> [n for n, value in enumerate([0.90, 0.91, 0.92] * 200) if stops(value)][0]
    299
    """
    if until is None:
        return lambda _: False
    watch = until.watch()

    def stops(value: float) -> bool:
        watch.update([value])
        return watch.reached(until.half_width)

    return stops
