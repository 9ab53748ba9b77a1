"""What a number that is measured of a chip means: its name, its unit, which way is better, what bounds it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator


def _ends(within: Any) -> Any:
    """Bounds of which JSON has null for an infinite one."""
    if not isinstance(within, list | tuple) or len(within) != 2:
        return within
    low, high = within
    return (-math.inf if low is None else low, math.inf if high is None else high)


Within = Annotated[tuple[float, float], BeforeValidator(_ends)]


@dataclass(frozen=True)
class Score:
    """One number of a chip, and how it is read.

    Args:
        name: what tables and verdicts call it.
        higher_is_better: False for errors and losses: percentiles and the worst chip are then the largest.
        within: what values cannot leave, either end may be infinite; None, nothing bounds them. Intervals
            are cut there.
        unit: printed after the value; "%" prints a hundred times the value, and differences in points.

    >>> Score("RMSE", higher_is_better=False, within=(0, math.inf), unit="K").text(1.234, digits=2)
    '1.23 K'
    >>> ACCURACY.text(0.912)
    '91.2 %'
    """

    name: str
    higher_is_better: bool = True
    within: Within | None = None
    unit: str = ""

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; `Score.of` reads them back."""
        ends = None if self.within is None else [end if math.isfinite(end) else None for end in self.within]
        return {
            "name": self.name,
            "higher_is_better": self.higher_is_better,
            "within": ends,
            "unit": self.unit,
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> Self:
        """What `facts` said; nothing is accuracy.

        Args:
            facts: plain values, or None.

        Returns:
            The score.

        >>> Score.of(Score("RMSE", False, (0.0, math.inf)).facts()).within
        (0.0, inf)
        """
        if facts is None:
            return cls(ACCURACY.name, within=ACCURACY.within, unit=ACCURACY.unit)
        ends = _ends(facts.get("within"))
        return cls(str(facts["name"]), bool(facts["higher_is_better"]), ends, str(facts["unit"]))

    @property
    def scale(self) -> float:
        """What a value is multiplied by before it is printed."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def sign(self) -> float:
        """1 where higher is better, else −1: times it, worse is always less."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def difference(self) -> Within | None:
        """What differences of two values cannot leave."""
        if self.within is None:
            return None
        width = self.within[1] - self.within[0]
        return (-width, width)

    @property
    def step(self) -> str:
        """What a difference is counted in."""
        return "points" if self.unit == "%" else self.unit or self.name

    @property
    def label(self) -> str:
        """The name with the unit, as an axis has it.

        >>> ACCURACY.label, Score("RMSE").label
        ('accuracy in %', 'RMSE')
        """
        return f"{self.name} in {self.unit}" if self.unit else self.name

    @property
    def title(self) -> str:
        """The name as a heading begins with it."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def named(self) -> str:
        """The name between "mean" and a value; empty for accuracy, whose percents need none."""
        return "" if self == ACCURACY else f" {self.name}"

    @property
    def remark(self) -> str:
        """Which way is better, where a reader would take it for the other one."""
        return "" if self.higher_is_better else ", lower is better"

    def digits(self, half: float | None, value: float = 0.0) -> int:
        """Decimals that show an interval of this half width, or without one, four digits of a value.

        Args:
            half: half the width of the interval, or None.
            value: what is printed without one.

        Returns:
            How many.

        >>> ACCURACY.digits(0.004), ACCURACY.digits(0.0004), Score("RMSE").digits(0.42, 53.0)
        (1, 2, 2)
        """
        width = self.scale * (half or 0.0)
        if self.unit == "%":
            return 1 if width == 0 or width >= 0.1 else 2 if width >= 0.01 else 3
        size, kept = (width, 1) if width > 0 else (abs(self.scale * value), 3)
        if size == 0 or not math.isfinite(size):
            return 1
        return min(max(kept - math.floor(math.log10(size)), 0), 9)

    def number(self, value: float, *, digits: int | None = None) -> str:
        """The value without its unit.

        Args:
            value: of the score.
            digits: decimals; None, as many as show it.

        Returns:
            Text.
        """
        places = self.digits(None, value) if digits is None else digits
        return f"{self.scale * value:.{places}f}"

    def text(self, value: float, *, digits: int | None = None) -> str:
        """The value with its unit.

        Args:
            value: of the score.
            digits: decimals; None, as many as show it.

        Returns:
            Text.
        """
        return f"{self.number(value, digits=digits)} {self.unit}".rstrip()

    def goal(self, target: float) -> str:
        """A target as a table's head has it.

        Args:
            target: a value of the score.

        Returns:
            Text.

        >>> ACCURACY.goal(0.9), Score("RMSE", higher_is_better=False).goal(60)
        ('90 %', 'RMSE ≤ 60')
        """
        if self == ACCURACY:
            return f"{100 * target:g} %"
        relation = "≥" if self.higher_is_better else "≤"
        return f"{self.name} {relation} {self.scale * target:g} {self.unit}".rstrip()

    def reaches(self, value: float, target: float) -> bool:
        """Whether a value is as good as a target, but for rounding in float32.

        Args:
            value: of a chip.
            target: what it should reach.

        Returns:
            True where it is.
        """
        return self.sign * (value - target) >= -1e-7 * max(1.0, abs(target))


ACCURACY = Score("accuracy", within=(0.0, 1.0), unit="%")
"""The share of inputs that are answered right."""
