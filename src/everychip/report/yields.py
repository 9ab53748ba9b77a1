"""The yield at every target that a reader may choose, counted once for the page's slider."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from everychip.report.blocks import Yields
from everychip.report.results import Group, Results
from everychip.report.tables import verdict_of
from everychip.report.wording import at_sigma
from everychip.scores import Score
from everychip.statistics.percentiles import proportion

STEPS = 100
"""At most about so many targets may be chosen, between the worst chip and the best one."""
ROUNDING = 1e-7
"""A score that was counted in single precision reaches the target that it equals."""
NOTE = (
    "Share of chips in % that reach the target, with its 95 % Clopper–Pearson interval; "
    "it pools the chips of a method's networks."
)
STILL = "Without a slider: `{again}` writes this table for another target."


def yields(results: Results, *, target: float | None = None) -> Yields | None:
    """The yield of every method at the σ of its training, over targets.

    Args:
        results: a run or a study.
        target: the one that stands there first; a round number that the best mean reaches if absent.

    Returns:
        The shares in words, or `None` where no chip met the whole test set.
    """
    found = [(panel, group) for panel in results.panels for group in panel.at_sigma if group.whole_test]
    if not found:
        return None
    groups, score = [group for _, group in found], results.score
    wanted = _round(groups, score) if target is None else target
    targets = _targets(groups, score, wanted)
    rows = []
    for panel, group in found:
        heading = results.heading(panel.context)
        where = ", ".join(filter(None, (at_sigma(panel.sigma, panel.at_sigma), heading)))
        rows.append((where, group.method, _shares(group, targets)))
    return Yields(
        title="Yield: how many chips are good enough",
        score=score.name,
        targets=tuple(round(score.scale * t, 6) for t in targets),
        labels=tuple(score.goal(t) for t in targets),
        chosen=targets.index(wanted),
        rows=tuple(rows),
        notes=(NOTE, STILL.format(again=results.again)),
    )


def _shares(group: Group, targets: Sequence[float]) -> tuple[str, ...]:
    """As `Score.reaches` has it, by bisection: a worse chip stands further left whichever way is better."""
    sign = group.score.sign
    chips = sorted(sign * value for values in group.by_seed.values() for value in values)
    bars = [sign * target - ROUNDING * max(1.0, abs(target)) for target in targets]
    return tuple(_share(len(chips) - bisect_left(chips, bar), len(chips)) for bar in bars)


@lru_cache(maxsize=65536)  # 200 chips have 201 shares, whatever the method
def _share(hits: int, of: int) -> str:
    share = proportion(hits, of=of, over="chips")
    return f"{100 * share.estimate:.1f} {share.bounds()}"


def _targets(groups: Sequence[Group], score: Score, wanted: float) -> list[float]:
    """Round targets from the worst chip to the best one, and the one that stands there first."""
    chips = [value for group in groups for values in group.by_seed.values() for value in values]
    low, high = min(chips), max(chips)
    step = _step((high - low) / STEPS)
    places = range(math.floor(low / step), math.ceil(high / step) + 1)
    least, most = score.within or (-math.inf, math.inf)
    every = {float(f"{place * step:.6g}") for place in places} | {wanted}
    return sorted(target for target in every if least <= target <= most and (target or score.unit != "%"))


def _step(least: float) -> float:
    """The next 1, 2 or 5 times a power of ten, at least a tenth of a point of percent of one."""
    least = max(least, 1e-3)
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= least * (1 - 1e-9))


def _round(groups: Sequence[Group], score: Score) -> float:
    """The next 5 % (1 % above 95 %) below the highest mean, or a round value a little worse than the best."""
    best = max(score.sign * verdict_of(group).mean.estimate for group in groups)
    if score.unit != "%":
        step = _step(abs(best) / 20)
        return float(f"{score.sign * step * math.floor(best / step):.6g}")
    step = 0.05 if best < 0.95 else 0.01
    return float(f"{step * math.floor(best / step + 1e-9):.6g}") or step
