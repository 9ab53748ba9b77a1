"""Numbers as the report writes them: percent with one digit, σ beside its effective value."""

from __future__ import annotations

import math
from collections.abc import Iterable

from everychip.devices.ageing import duration as age
from everychip.report.results import Group, Panel
from everychip.scores import ACCURACY, Score
from everychip.statistics.intervals import Interval

MINUS = "\N{MINUS SIGN}"


def percent(share: float, *, digits: int | None = None, score: Score = ACCURACY) -> str:
    """A share in percent without the sign, or another score without its unit.

    >>> percent(0.8734)
    '87.3'
    """
    return score.number(share, digits=1 if digits is None and score.unit == "%" else digits)


def digits_of(interval: Interval, *, least: float = 0.0005) -> int:
    """One digit behind the point; none where half the interval is wide, more where it is below `least`."""
    half = interval.half
    if interval.score.unit != "%":
        return interval.digits
    if half is not None and half >= 0.1:
        return 0
    if half is None or half == 0 or half >= least:
        return 1
    return 2 if half >= least / 10 else 3


def mean_of(interval: Interval) -> str:
    """An estimate with half its interval, or its bounds where they are not equally far from it.

    A dash stands where the sample gives none.

    >>> mean_of(Interval(0.873, 0.869, 0.877, over="chips"))
    '87.3 ± 0.4'
    >>> mean_of(Interval(0.984, 0.9838, 0.9842, over="3 seeds"))
    '98.40 ± 0.02'
    >>> mean_of(Interval(0.93, 0.824, 0.970, over="chips"))
    '93.0 [82.4, 97.0]'
    """
    digits = digits_of(interval)
    estimate = interval.score.number(interval.estimate, digits=digits)
    if not interval.even(digits):
        return f"{estimate} {interval.bounds(digits=digits)}"
    half = "–" if interval.half is None else interval.score.number(interval.half, digits=digits)
    return f"{estimate} ± {half}"


def bounds_of(interval: Interval) -> str:
    """An estimate with its bounds in brackets: how an interval that is not symmetric is written.

    >>> bounds_of(Interval(0.8, None, 0.82, over="chips"))
    '80.0 [–, 82.0]'
    """
    digits = interval.plain_digits
    return f"{interval.score.number(interval.estimate, digits=digits)} {interval.bounds(digits=digits)}"


def points(difference: Interval) -> str:
    """A difference of two accuracies, in points of percent, with its bounds.

    >>> points(Interval(-0.004, -0.010, 0.002, over="3 seeds"))
    '−0.4 [−1.0, +0.2]'
    """
    digits, score = digits_of_points(difference), difference.score
    return f"{signed(difference.estimate, digits=digits, score=score)} {bounds_in_points(difference)}"


def bounds_in_points(difference: Interval) -> str:
    """The bounds of a difference, in points of percent or in what else the score is counted in.

    >>> bounds_in_points(Interval(-0.004, None, 0.002, over="3 seeds"))
    '[–, +0.2]'
    """
    digits, score = digits_of_points(difference), difference.score
    bounds = (difference.low, difference.high)
    low, high = ("–" if b is None else signed(b, digits=digits, score=score) for b in bounds)
    return f"[{low}, {high}]"


def digits_of_points(difference: Interval) -> int:
    """As for a mean, but a difference is looked at more closely: it is its bounds' sign that matters."""
    return digits_of(difference, least=0.002)


def signed(share: float, *, digits: int = 1, score: Score = ACCURACY) -> str:
    """A share in percent, or another score, with its sign.

    >>> signed(-0.004), signed(0.002), signed(-1e-9)
    ('−0.4', '+0.2', '0.0')
    """
    text = f"{score.scale * share:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def sigma_text(sigma: float | None) -> str:
    """A nominal σ as people write it; a device without one is written as a dash.

    >>> sigma_text(0.30000000000000004)
    '0.3'
    """
    return "–" if sigma is None else f"{sigma:.6g}"


def effective(value: float) -> str:
    """An effective weight noise, two significant digits.

    >>> effective(0.03412), effective(1.0), effective(12.3), effective(0.0)
    ('0.034', '1.0', '12', '0')
    """
    if math.isnan(value):
        return "–"
    return f"{value:#.2g}".rstrip(".") if value else "0"


def spread(values: Iterable[float]) -> str:
    """The range of effective values, or the one value they all round to.

    >>> spread([0.31, 1.24, 0.4])
    '0.31–1.2'
    """
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return "–"
    low, high = effective(known[0]), effective(known[-1])
    return low if low == high else f"{low}–{high}"


def at_sigma(sigma: float | None, groups: Iterable[Group]) -> str:
    """A nominal σ, and the time, together with the effective noise of the groups evaluated there."""
    groups = list(groups)
    noise = f"σ_W/rms(W) {spread(g.of_rms for g in groups)}"
    parts = ["" if sigma is None else f"σ = {sigma_text(sigma)}", *{time_text(g.time) for g in groups}]
    where = ", ".join(filter(None, parts))
    return f"{where} ({noise})" if where else noise


def time_text(time: float | None) -> str:
    """How long after programming; nothing for a device that does not age.

    >>> time_text(3600.0), time_text(None)
    ('1 h', '')
    """
    return "" if time is None else age(time)


def trained_at(panel: Panel) -> str:
    """What a panel's methods were trained on."""
    if panel.sigma_train is None:
        return "no noise in training" if panel.sigma is not None else "trained on the device"
    quiet = listing(g.method for g in panel.at_sigma if g.sigma_train == 0 and panel.sigma_train)
    without = f"; {quiet} without noise" if quiet else ""
    return f"trained at {at_sigma(panel.sigma_train, panel.at_sigma)}{without}"


def quantity(value: float, unit: str) -> str:
    """A quantity with three digits and the prefix that suits it.

    >>> quantity(1.6e-6, "s"), quantity(0.0, "J")
    ('1.6 µs', '0 J')
    """
    prefixes = {0: "", -3: "m", -6: "µ", -9: "n", -12: "p"}
    power = next((p for p in prefixes if abs(value) >= 10.0**p), -12 if value else 0)
    return f"{value / 10.0**power:.3g} {prefixes[power]}{unit}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them.

    >>> duration(6543), duration(42.3), duration(None)
    ('1 h 49 min', '42 s', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listing(words: Iterable[str]) -> str:
    """Words in a row, as a sentence has them.

    >>> listing(["irs", "ovf", "vanilla"])
    'irs, ovf and vanilla'
    """
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def count(number: int, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "chip"), count(2_000, "chip")
    ('1 chip', '2\u202f000 chips')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", "\N{NARROW NO-BREAK SPACE}")
