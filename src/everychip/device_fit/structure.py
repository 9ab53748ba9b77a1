"""Which parts of the variation the columns of a file can tell apart, and its levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from everychip.device_fit.nested import freedom
from everychip.device_fit.reading import Measurements
from everychip.errors import DataError

LEAST_ROWS = 10
"""Fewer measurements than this of one target say too little about its σ (here: ± 24 %)."""
MOST_LEVELS, BINS = 64, 16
"""With more distinct targets than the first number, bins of equal width stand for levels: so many."""


@dataclass(frozen=True)
class Structure:
    """How the rows nest: the groups, outermost first, and the part of each; the last is the rows' own."""

    parts: tuple[str, ...]
    groups: tuple[Int[np.ndarray, " rows"], ...]
    remarks: tuple[str, ...]


def levels_of(target: Float[np.ndarray, " rows"], bins: int | None) -> Int[np.ndarray, " rows"]:
    """The level of every row: its target, or its bin where there are bins.

    >>> levels_of(np.array([0.0, 0.5, 0.0, 1.0]), None)
    array([0, 1, 0, 2])
    """
    rounded = np.round(target, 9)
    distinct, codes = np.unique(rounded, return_inverse=True)
    if bins is None and distinct.size <= MOST_LEVELS:
        return codes
    low, high = float(target.min()), float(target.max())
    place = (target - low) / max(high - low, 1e-300) * (bins or BINS)
    return np.unique(np.minimum(place.astype(np.int64), (bins or BINS) - 1), return_inverse=True)[1]


def refuse_few(m: Measurements, level: Int[np.ndarray, " rows"], place: str, rows: np.ndarray) -> None:
    """Refuse a time that has fewer than two levels, or a level with fewer than ten rows."""
    here = level[rows]
    rounded = "round the times, if they differ by little" if m.time is not None else None
    codes, counts = np.unique(here, return_counts=True)
    if codes.size < 2:
        expected = "at least two, between which the law is interpolated"
        raise DataError(f"{m.source}{place}", found="one target", expected=expected, remedy=rounded)
    fewest = int(np.argmin(counts))
    if counts[fewest] < LEAST_ROWS:
        g = float(m.target[rows][here == codes[fewest]].mean()) * m.g_max
        many = np.unique(np.round(m.target[rows], 9)).size > codes.size
        raise DataError(
            f"{m.source}{place}",
            found=f"{counts[fewest]} measurement{'s' * int(counts[fewest] > 1)} at {g:.4g} µS",
            expected=f"at least {LEAST_ROWS} of every level",
            remedy=rounded or ("use fewer --bins" if many else "measure more, or join targets with --bins"),
        )


def structure_of(
    m: Measurements, level: Int[np.ndarray, " rows"], times: Int[np.ndarray, " rows"], *, same_order: bool
) -> Structure:
    """The nesting that holds at every level and time."""
    where = level * (int(times.max()) + 1) + times
    remarks: list[str] = []
    device = _devices(m, where, same_order=same_order, remarks=remarks)
    groups: dict[str, np.ndarray] = {}
    if m.die is not None:
        groups["die_to_die"] = m.die
    own = "cell_to_cell"
    if device is not None and _least_freedom(where, [*groups.values(), device])[-1] > 0:
        own = "cycle_to_cycle"
        groups["device_to_device"] = device
    elif device is not None:
        remarks.append(f"no device was measured twice at every level: {_ONE_PART}")
    elif m.cycle is not None:
        remarks.append(
            f"{_ONE_PART}; to tell them apart, add a column device that names the cell, or --same-order "
            "where every cycle lists the same cells in one order"
        )
    _drop_what_is_not_there(groups, where, remarks)
    return Structure((*groups, own), tuple(groups.values()), tuple(remarks))


_ONE_PART = "device_to_device and cycle_to_cycle are one part, cell_to_cell"


def _drop_what_is_not_there(groups: dict[str, np.ndarray], where: np.ndarray, remarks: list[str]) -> None:
    """Leave out the stages that some level has no two groups of."""
    while groups:
        *stages, rows = _least_freedom(where, list(groups.values()))
        short = [part for part, count in zip(groups, stages, strict=True) if count < 1]
        if short == ["device_to_device"] and "die_to_die" in groups:
            dropped, why = "die_to_die", "each die holds one device, and the two cannot be distinguished"
        elif short:
            dropped = short[0]
            why = f"some level was measured on one {dropped.partition('_')[0]} only"
        elif rows < 1:
            dropped, why = list(groups)[-1], "some level has one row of each"
        else:
            return
        del groups[dropped]
        remarks.append(f"{dropped} is not estimated: {why}")


def _least_freedom(where: np.ndarray, groups: list[np.ndarray]) -> tuple[int, ...]:
    """The fewest degrees of freedom that each stage has anywhere."""
    found = [
        freedom(int(rows.sum()), [codes[rows] for codes in groups])
        for rows in (where == code for code in np.unique(where))
    ]
    return tuple(map(min, zip(*found, strict=True)))


def _devices(
    m: Measurements, where: np.ndarray, *, same_order: bool, remarks: list[str]
) -> Int[np.ndarray, " rows"] | None:
    """Which device every row is of, as far as the file tells."""
    if m.device is not None:
        return m.device if m.die is None else _within(m.die, m.device)
    if m.cycle is None:
        if same_order:
            raise DataError(m.source, found="--same-order and no column cycle", expected="the column cycle")
        return None
    die = np.zeros_like(where) if m.die is None else m.die
    place = _within(where, die)
    joint = _within(place, m.cycle)
    counts = np.bincount(joint)
    if same_order:
        _refuse_unequal(m, place, joint, counts)
        return _within(die, _running_number(joint))
    if counts.max() == 1:  # every cycle lists one cell at each level
        remarks.append("every cycle has one row for each level, taken as one device per die, cycled")
        return die
    return None


def _within(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Numbers of the pairs: device 1 of die 1 is another one than device 1 of die 2."""
    return np.unique(outer * (int(inner.max()) + 1) + inner, return_inverse=True)[1]


def _refuse_unequal(m: Measurements, place: np.ndarray, joint: np.ndarray, counts: np.ndarray) -> None:
    for code in np.unique(place):
        sizes = np.unique(counts[np.unique(joint[place == code])])
        if sizes.size > 1:
            g = float(m.target[place == code][0]) * m.g_max
            found = f"cycles of {sizes[0]} and of {sizes[-1]} rows at {g:.4g} µS"
            raise DataError(m.source, found=found, expected="as many in every cycle (--same-order)")


def _running_number(codes: np.ndarray) -> np.ndarray:
    """For every row, how many rows of the same code stand before it."""
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))[:-1]])
    number = np.empty_like(codes)
    number[order] = np.arange(codes.size) - starts[codes[order]]
    return number
