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
from everychip.statistics.percentiles import proportion

STEPS = 100
"""About so many targets may be chosen, between the worst chip and perfection."""
ROUNDING = 1e-7
"""An accuracy that was counted in single precision reaches the target that it equals."""
NOTE = (
    "Share of chips in % that reach the target, with its 95 % Clopper–Pearson interval; "
    "it pools the chips of a method's networks."
)
STILL = "`everychip report FOLDER --target 0.9` writes this table for another target."


def yields(results: Results, *, target: float | None = None) -> Yields | None:
    """The yield of every method at the σ of its training, over targets.

    Args:
        results: a run or a study.
        target: the one that stands there first, 0 … 1; a round number that half of the best chips reach if
            absent.

    Returns:
        The shares in words, or `None` where no chip met the whole test set.
    """
    found = [(panel, group) for panel in results.panels for group in panel.at_sigma if group.whole_test]
    if not found:
        return None
    targets = _targets([group for _, group in found], target)
    wanted = _round([group for _, group in found]) if target is None else target
    rows = []
    for panel, group in found:
        heading = results.heading(panel.context)
        where = ", ".join(filter(None, (at_sigma(panel.sigma, panel.at_sigma), heading)))
        rows.append((where, group.method, _shares(group, targets)))
    return Yields(
        title="Yield: how many chips are good enough",
        score="accuracy",
        targets=tuple(round(100 * t, 3) for t in targets),
        labels=tuple(f"{100 * t:g} %" for t in targets),
        chosen=min(range(len(targets)), key=lambda place: abs(targets[place] - wanted)),
        rows=tuple(rows),
        notes=(NOTE, STILL),
    )


def _shares(group: Group, targets: Sequence[float]) -> tuple[str, ...]:
    chips = sorted(value for values in group.by_seed.values() for value in values)
    return tuple(_share(len(chips) - bisect_left(chips, target - ROUNDING), len(chips)) for target in targets)


@lru_cache(maxsize=65536)  # 200 chips have 201 shares, whatever the method
def _share(hits: int, of: int) -> str:
    share = proportion(hits, of=of, over="chips")
    return f"{100 * share.estimate:.1f} {share.bounds()}"


def _targets(groups: Sequence[Group], target: float | None) -> list[float]:
    """Round targets from below the worst chip up to 100 %, and the one that is asked for."""
    worst = min(value for group in groups for values in group.by_seed.values() for value in values)
    step = next(s for s in (0.001, 0.002, 0.005, 0.01) if (1 - worst) / s <= STEPS or s == 0.01)
    first = math.floor(worst / step)
    every = {round(place * step, 6) for place in range(first, round(1 / step) + 1)}
    return sorted(t for t in every | ({target} if target is not None else set()) if t > 0)


def _round(groups: Sequence[Group]) -> float:
    """The next 5 % (1 % above 95 %) below the highest mean: a target that tells methods apart."""
    best = max(verdict_of(group).mean.estimate for group in groups)
    step = 0.05 if best < 0.95 else 0.01
    return step * math.floor(best / step + 1e-9)
