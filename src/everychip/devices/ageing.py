"""Time since programming: how it is written in recipes, and in the words of tables."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from everychip.config.component import refusal

DAY = 86_400.0
YEAR = 365 * DAY
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY, "mo": 30 * DAY, "y": YEAR}
"""The seconds of each unit: a month has 30 days, a year 365."""
LONG = {
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
    "month": "mo",
    "months": "mo",
    "year": "y",
    "years": "y",
}
_NAMES = ((YEAR, "year"), (DAY, "day"), (3600.0, "h"), (60.0, "min"))
_TIME = re.compile(r"\s*(\d+\.?\d*(?:e[-+]?\d+)?|\.\d+)\s*([a-z]+)\s*", re.ASCII)


def seconds(value: Any) -> Any:
    """A time as it is written in a recipe, in seconds; what is no text is left to be checked as a number.

    >>> seconds("25s"), seconds("1.5 h"), seconds("1mo"), seconds(60)
    (25.0, 5400.0, 2592000.0, 60)
    """
    if not isinstance(value, str):
        return value
    found = _TIME.fullmatch(value)
    unit = "" if found is None else LONG.get(found[2], found[2])
    if found is None or unit not in UNITS:
        remedy = 'seconds, or a text such as "25s", "10min", "1h", "1d", "1mo" (30 days) or "1y" (365 days)'
        raise refusal((), repr(value), remedy)
    return float(found[1]) * UNITS[unit]


_WRITTEN = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
Time = Annotated[float, BeforeValidator(seconds), Field(ge=0), WithJsonSchema(_WRITTEN)]
"""Seconds, or a text with a unit."""


def duration(seconds: float) -> str:
    """A time in its largest unit that leaves a whole number, else in seconds.

    >>> duration(2 * DAY), duration(3600), duration(90), duration(0)
    ('2 days', '1 h', '90 s', '0 s')
    """
    for length, unit in _NAMES:
        if seconds >= length and seconds % length == 0:
            count = seconds / length
            plural = "s" if count > 1 and unit in ("year", "day") else ""
            return f"{count:g} {unit}{plural}"
    return f"{seconds:g} s"
