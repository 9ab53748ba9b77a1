"""Two-stage sampling: how many chips, and how many test images of each, for a mean of ±h at least cost.

A mean over n chips, each tested on its own k of N images, has the variance (σ_c² + σ_i²·(1/k − 1/N)) / n: the
spread between chips, and that between images within a chip. A pilot tells the two apart; the plan is the k of
least cost; chips are then drawn until the interval of their mean is narrow enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from pydantic.dataclasses import dataclass
from torch import Tensor

from everychip.errors import SampleSizeError
from everychip.statistics.intervals import Values, mean_interval, sample
from everychip.statistics.stopping import Until, without_fixed_bounds
from everychip.statistics.verdict import Verdict

PILOT_CHIPS, PILOT_IMAGES = 50, 100
CHIP = 20
"""What a chip costs beside its images, in images: few for a VGG-8, hundreds where a network is tiny. The
least cost is flat, so that a wrong factor here costs little; and no clock decides what is drawn."""


@dataclass(frozen=True)
class Components:
    """Where the spread of chips' scores comes from, as variances.

    chips: σ_c², between the scores that chips have on all images. images: σ_i², between the images within
    a chip, on average.
    """

    chips: float
    images: float

    @classmethod
    def of(cls, accuracy: Values, *, images: int, total: int) -> Components:
        """Both from accuracies of chips that were each measured on their own random images.

        With k of N images without replacement, s_i² = mean of k/(k−1)·a·(1 − a), and
        σ_c² = Var(a) − s_i²·(1/k − 1/N), at least 0.

        Args:
            accuracy: of each chip, 0 … 1.
            images: k, how many each chip was measured on, at least 2.
            total: N, of how many they were taken.

        Returns:
            The two variances.

        Source: Cochran, Sampling Techniques, 3rd ed. (1977), §10.3.

        >>> round(Components.of([0.5, 1.0, 0.75, 0.75], images=4, total=4).images, 4)
        0.2083
        """
        a = sample(accuracy, where="Components.accuracy", least=2)
        if not 2 <= images <= total:
            raise SampleSizeError(
                "Components.images", found=f"{images} of {total}", expected="2 or more, of as many at least"
            )
        within = float((a * (1 - a)).mean()) * images / (images - 1)
        return cls(max(0.0, float(a.var()) - within * (1 / images - 1 / total)), within)

    def variance(self, images: Float[Tensor, " choices"], *, total: int) -> Float[Tensor, " choices"]:
        """σ_c² + σ_i²·(1/k − 1/N): of one chip's score on k of N images."""
        return self.chips + self.images * (1 / images - 1 / total)


@dataclass(frozen=True)
class TwoStage:
    """A plan: so many images a chip, and chips until the mean has an interval of ± half_width.

    half_width: a fraction. least, most: the fewest and the most chips. images, total: how many test images a
    chip meets, of how many. components: what the pilot said.

    The interval is that of a number of chips fixed beforehand, checked from `least` chips on (Chow & Robbins,
    Ann. Math. Statist. 36, 1965, whose coverage tends to the level as the half-width tends to 0):
    tests/statistics/test_two_stage.py shows what it covers.
    """

    half_width: float
    least: int
    most: int
    images: int
    total: int
    components: Components

    @classmethod
    def planned(
        cls,
        components: Components,
        *,
        half_width: float,
        least: int,
        most: int,
        total: int,
        chip: float = CHIP,
        level: float = 0.95,
    ) -> TwoStage:
        """The number of images that costs least: min over k of n(k)·(c + k), n(k) = max(least, z²·V(k)/h²).

        Without `least` that is Cochran's k = √(c·σ_i²/σ_c²).

        Args:
            components: of a pilot.
            half_width: h, a fraction.
            least: the fewest chips, so that rare failures have shown (3 / p for a share p).
            most: the most that may be spent.
            total: N, the images of the test set.
            chip: c, what a chip costs beside its images, in images.
            level: the coverage of the interval.

        Returns:
            The plan.

        Source: Cochran, Sampling Techniques, 3rd ed. (1977), §10.6.

        >>> parts = Components(chips=0.02**2, images=0.3**2)
        >>> TwoStage.planned(parts, half_width=0.002, least=20, most=9999, total=10_000).images
        68
        >>> TwoStage.planned(parts, half_width=0.005, least=300, most=9999, total=10_000).images
        57
        """
        from scipy.special import ndtri

        z = float(ndtri(0.5 + level / 2))
        choices = torch.arange(1, total + 1, dtype=torch.float64)
        needed = z**2 * components.variance(choices, total=total) / half_width**2
        spent = needed.ceil().clamp(min=least, max=most) * (chip + choices)
        # Where even all chips that may be spent do not reach it, the images have to.
        possible = needed <= most
        images = 1 + int(spent.where(possible, math.inf).argmin()) if bool(possible.any()) else total
        return cls(half_width, least, most, images, total, components)

    @property
    def between(self) -> tuple[float, float]:
        """The standard deviation between chips, and between images within a chip."""
        return math.sqrt(self.components.chips), math.sqrt(self.components.images)

    def stops(self) -> Callable[[float], bool]:
        """Takes one chip's score after another, and says when the interval of the mean is narrow enough."""
        values: list[float] = []
        mean = squares = 0.0

        def enough(value: float) -> bool:
            nonlocal mean, squares
            values.append(value)
            n, step = len(values), value - mean
            mean += step / n
            squares += step * (value - mean)
            # The normal interval is narrower than the one that counts, and costs next to nothing.
            hopeful = n >= max(self.least, 2) and squares * 1.95**2 <= self.half_width**2 * n * (n - 1)
            return hopeful and self.reached(values)

        return enough

    def reached(self, values: Values, *, level: float = 0.95) -> bool:
        """Whether the mean of these chips has an interval of no more than ± half_width."""
        half = mean_interval(values, level=level).half
        return half is not None and half <= self.half_width

    def verdict(self, fixed: Verdict, values: Values) -> Verdict:
        """The verdict on these chips, and what was chosen and why."""
        bare = without_fixed_bounds(fixed)
        narrow = self.reached(values, level=fixed.mean.level)
        missed = () if narrow else (f"±{100 * self.half_width:g} was not reached in {fixed.n} chips",)
        return replace(bare, refusals=(*bare.refusals, *missed), cautions=(*bare.cautions, self.words))

    @property
    def words(self) -> str:
        """What was chosen, and by which spread."""
        chips, images = (100 * spread for spread in self.between)
        return (
            f"two-stage: {self.images} of {self.total} images a chip, for a pilot's spread of {chips:.1f} "
            f"points between chips and {images:.0f} between images"
        )

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for a run's record."""
        chips, images = self.between
        return {
            "mitigation": "two-stage sampling",
            "images": self.images,
            "images_in_all": self.total,
            "half_width": self.half_width,
            "sd_between_chips": chips,
            "sd_between_images": images,
        }


def rule_of(facts: Mapping[str, Any] | None) -> Until | TwoStage | None:
    """The rule of stopping that `dataclasses.asdict` wrote; None where chips were not watched.

    Args:
        facts: plain values, or None.

    Returns:
        A rule, or None.
    """
    if facts is None:
        return None
    return TwoStage(**facts) if "components" in facts else Until(**facts)
