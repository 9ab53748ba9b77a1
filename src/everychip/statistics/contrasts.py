"""Contrasts that were fixed beforehand: who is better, who is as good, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from everychip.charts.notebook import Shown
from everychip.config.arguments import a, number, takes
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import Difference, Values, sample
from everychip.statistics.paired_comparison import compare_seeds

MARGIN = 0.01
"""One point of accuracy: what two methods may differ by and still be called as good as one another."""


@dataclass(frozen=True, repr=False)
class Contrast(Shown):
    """One of a family of contrasts: a difference of two methods, with p-values that Holm has corrected.

    p_difference: of "they are the same". p_equivalence: of "they differ by the margin or more". None where a
    p-value cannot be had, because the difference is the same for every seed.
    """

    difference: Difference
    seeds: int
    margin: float
    p_difference: float | None
    p_equivalence: float | None

    @property
    def shows(self) -> Literal["better", "worse", "none"]:
        """What the test of a difference shows, at α = 1 − the level of the interval."""
        if self.p_difference is None or self.p_difference > self._alpha:
            return "none"
        return "better" if self.difference.score.sign * self.difference.estimate > 0 else "worse"

    @property
    def alike(self) -> bool:
        """Whether a difference of the margin or more is ruled out, at the same α."""
        return self.p_equivalence is not None and self.p_equivalence <= self._alpha

    @property
    def finding(self) -> str:
        """What is shown, in words; "within the margin" where both a difference and equivalence are."""
        if self.shows == "none":
            return "equivalent" if self.alike else "nothing shown"
        return f"{self.shows}{', within the margin' if self.alike else ''}"

    @property
    def _alpha(self) -> float:
        return 1 - self.difference.level

    def __str__(self) -> str:
        within = self.difference.score.scale * self.margin
        return f"{self.difference.points} over {self.seeds} seeds, margin ±{within:g}: {self.finding}"


@takes(margin=number(above=0), score=a(Score, "an everychip.tasks.Score"))
def contrasts(
    pairs: Mapping[str, tuple[Mapping[int, Values], Mapping[int, Values]]],
    *,
    family: int | None = None,
    margin: float = MARGIN,
    level: float = 0.95,
    score: Score = ACCURACY,
) -> dict[str, Contrast]:
    """Judge a family of contrasts a − b, fixed before the first run, paired by training seed.

    Difference: the two-sided t test of the S seed means. Equivalence: two one-sided t tests (TOST),
    p = max(P(t ≥ (d̄ + Δ)/s), P(t ≤ (d̄ − Δ)/s)) with s the standard error and Δ the margin. Holm's step-down
    correction over the family holds the chance of any false finding of either kind below α = 1 − level.

    Args:
        pairs: name → (a, b), each the scores of the chips by training seed, of the same seeds and chips.
        family: how many contrasts were fixed, where some of them have no scores yet; by default those given.
        margin: Δ > 0, in the score's own unit (accuracy: 0.01 is a point).
        level: the coverage of each interval, which is not corrected.
        score: what the numbers measure.

    Returns:
        name → contrast, in the order given.

    Raises:
        DataError: where a and b are not of the same seeds and chips.
        SampleSizeError: for fewer than three seeds.

    Source: Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987), TOST; Holm, Scand. J. Statist. 6 (1979).

    >>> b = {seed: [0.90 + 0.001 * seed, 0.92] for seed in range(5)}
    >>> same = {seed: [x + 0.0002 * (seed - 2) for x in chips] for seed, chips in b.items()}
    >>> more = {seed: [x + 0.03 + 0.002 * seed for x in chips] for seed, chips in b.items()}
    >>> for name, found in contrasts({"same": (same, b), "more": (more, b)}).items():
    ...     print(name, found.finding)
    same equivalent
    more better
    """
    compared = {name: compare_seeds(*both, level=level, score=score) for name, both in pairs.items()}
    others = [None] * ((family or 0) - len(pairs))
    differs = holm([*(one.p_t for one in compared.values()), *others])
    alike = holm([*(_equivalence(*both, margin=margin) for both in pairs.values()), *others])
    return {
        name: Contrast(one.difference, one.seeds, margin, p, q)
        for (name, one), p, q in zip(compared.items(), differs, alike, strict=False)
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number: p̃₍ᵢ₎ = max_{j ≤ i} min(1, (m − j + 1)·p₍ⱼ₎), the smallest first.

    Args:
        p_values: of the family; one that could not be had is None, and counts as 1.

    Returns:
        The corrected ones, in the same order.

    Source: Holm, Scand. J. Statist. 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = [1.0 if p is None else p for p in p_values]
    corrected: list[float | None] = [None] * len(known)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(known)), key=known.__getitem__)):
        least = max(least, min(1.0, (len(known) - rank) * known[index]))
        corrected[index] = None if p_values[index] is None else least
    return corrected


def _equivalence(a: Mapping[int, Values], b: Mapping[int, Values], *, margin: float) -> float | None:
    """The p-value of TOST over seed means; None where these do not differ at all."""
    from scipy.stats import ttest_1samp

    def mean(values: Values) -> Any:
        return sample(values, where="contrasts").mean()

    d = [float(mean(a[seed]) - mean(b[seed])) for seed in sorted(a)]
    if len({round(value, 12) for value in d}) == 1:
        return None
    above = ttest_1samp(d, -margin, alternative="greater").pvalue
    below = ttest_1samp(d, margin, alternative="less").pvalue
    return float(max(above, below))
