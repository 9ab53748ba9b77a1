"""Time since programming, in the words of tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Time = Annotated[float, Field(ge=0)]

DAY = 86_400.0
_UNITS = ((365 * DAY, "year"), (DAY, "day"), (3600.0, "h"), (60.0, "min"))


def duration(seconds: float) -> str:
    """A time in its largest unit that leaves a whole number, else in seconds.

    >>> duration(2 * DAY), duration(3600), duration(90), duration(0)
    ('2 days', '1 h', '90 s', '0 s')
    """
    for length, unit in _UNITS:
        if seconds >= length and seconds % length == 0:
            count = seconds / length
            plural = "s" if count > 1 and unit in ("year", "day") else ""
            return f"{count:g} {unit}{plural}"
    return f"{seconds:g} s"
