"""The fit: levels, their variance components, a law through them, and its goodness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from pydantic.dataclasses import dataclass

from everychip.config.columns import ARRAY, VALUES
from everychip.device_fit.goodness import (
    Goodness,
    chi_squared,
    from_neighbours,
    normality,
    r_squared,
    residuals,
)
from everychip.device_fit.nested import Components, components
from everychip.device_fit.polynomials import KNOTS, Polynomial, refuse_few_levels, smooth
from everychip.device_fit.reading import Measurements
from everychip.device_fit.structure import Structure, levels_of, refuse_few, structure_of
from everychip.device_fit.stuck import Stuck, suspected, without
from everychip.devices import Device, Law, Measured, Sequence, StuckAt
from everychip.mapping import Direct

DIGITS = 6
_OPEN = 0.005  # below this share of G_max, the lowest level is as good as none: 1/200


@dataclass(frozen=True, config=VALUES)
class Level:
    """One level: its mean target g, how many rows, and what they say; in units of G_max."""

    g: float
    rows: int
    found: Components

    @property
    def sigma(self) -> float:
        """The standard deviation of one row, all parts together."""
        return float(np.sqrt(max(self.found.total, 0.0)))

    @property
    def sigma_error(self) -> float:
        """Its standard error."""
        return float(root_error(np.array(self.found.total), np.array(self.found.total_error)))


@dataclass(frozen=True, config=VALUES)
class TimeFit:
    """What was found at one time: the levels, the law through them, and how well it fits.

    curves: the polynomials of a smooth fit, by part and for the bias; empty where the law is the levels'.
    residuals: standardised, of the rows `at` (targets in units of G_max).
    """

    time: float | None
    levels: tuple[Level, ...]
    law: Law
    goodness: Goodness
    curves: Mapping[str, Polynomial]
    residuals: Annotated[Float[np.ndarray, " kept"], ARRAY]
    at: Annotated[Float[np.ndarray, " kept"], ARRAY]


@dataclass(frozen=True, config=VALUES)
class Fit:
    """The device, what each time shows, the parts that could be distinguished, and remarks."""

    device: Measured
    times: tuple[TimeFit, ...]
    parts: tuple[str, ...]
    rows: int
    remarks: tuple[str, ...]
    stuck: StuckAt | None = None

    @property
    def whole(self) -> Device:
        """The device with its stuck cells, where they were split off."""
        if self.stuck is None:
            return self.device
        return Sequence(name=self.device.name, devices=(self.device.replace(name=None), self.stuck))

    @property
    def mapping(self) -> Direct:
        """One cell for each weight, its lowest conductance the lowest that was measured."""
        lowest = self.device.law.valid[0]
        return Direct(on_off=None if lowest < _OPEN else float(f"{1 / lowest:.4g}"))


def fit(
    m: Measurements,
    *,
    smooth: bool = False,
    bins: int | None = None,
    same_order: bool = False,
    split_stuck: bool = False,
    name: str | None = None,
) -> Fit:
    """Fit a device to measurements, one law for each time.

    At every level: the bias is the mean deviation, and the parts of σ² are the variance components of rows
    nested in devices nested in dies (`nested.components`), those below zero set to zero. The law interpolates
    them linearly, or with `smooth` tabulates a polynomial of σ(g) of each part and of the bias, of the degree
    that predicts left-out levels best. bins: levels are so many bins of equal width, instead of the targets.
    same_order: row n of every cycle is of the same device, where no column names it. split_stuck: rows that
    look stuck at one end (`stuck.suspected`) are no part of the law, and become a device of their own.

    >>> rows = np.repeat([0.0, 1.0], 20)
    >>> read = Measurements("a.csv", 25.0, rows, np.tile([0.03, 0.05], 20), None, None, None, None)
    >>> fit(read).device.law.bias
    (0.04, 0.04)
    """
    every, stuck = m, suspected(m, bins)
    m = without(m, stuck) if split_stuck else m
    level = levels_of(m.target, bins)
    times, when = (
        (np.zeros(1), np.zeros_like(level)) if m.time is None else np.unique(m.time, return_inverse=True)
    )
    for code, time in enumerate(times):
        place = "" if m.time is None else f" at {time:g} s"
        refuse_few(m, level, place, np.flatnonzero(when == code))
        if smooth:
            refuse_few_levels(m.source + place, np.unique(level[when == code]).size)
    structure = structure_of(m, level, when, same_order=same_order)
    found = tuple(
        _fit_time(
            m, structure, level, np.flatnonzero(when == code), None if m.time is None else float(time), smooth
        )
        for code, time in enumerate(times)
    )
    device = Measured(
        name=name,
        laws=tuple(one.law for one in found),
        time=found[0].time,
        g_max=_short(m.g_max),
        source=m.source,
    )
    remarks = (*m.notes, *structure.remarks, *_remarks(m, found), *_of_stuck(every, stuck, split=split_stuck))
    split = stuck.device() if split_stuck else None
    return Fit(device, found, structure.parts, m.target.size, remarks, split)


def _fit_time(
    m: Measurements,
    structure: Structure,
    level: Int[np.ndarray, " rows"],
    rows: Int[np.ndarray, " rows"],
    time: float | None,
    wants_smooth: bool,
) -> TimeFit:
    levels = []
    for code in np.unique(level[rows]):
        chosen = rows[level[rows] == code]
        groups = [codes[chosen] for codes in structure.groups]
        found = components(m.deviation[chosen], groups)
        levels.append(Level(float(m.target[chosen].mean()), chosen.size, found))
    curves = _curves(levels, structure.parts) if wants_smooth else {}
    law = _smooth_law(levels, curves, time) if curves else _binned_law(levels, structure.parts, time)
    groups_of = dict(zip(structure.parts, structure.groups, strict=False))
    own = {
        part: np.unique(groups_of[name][rows] * (int(level.max()) + 1) + level[rows], return_inverse=True)[1]
        for part, name in (("die", "die_to_die"), ("device", "device_to_device"))
        if name in groups_of
    }
    g = m.target[rows]
    bias = np.interp(g, law.g, law.bias)
    z, kept = residuals(m.deviation[rows], bias=bias, sigma=_cells(law, g), **own)
    goodness = _goodness(levels, curves, z)
    return TimeFit(time, tuple(levels), law, goodness, curves, z, g[kept])


def _binned_law(levels: list[Level], parts: tuple[str, ...], time: float | None) -> Law:
    roots = {part: _roots(levels, place) for place, part in enumerate(parts)}
    g = np.array([one.g for one in levels])
    return _law(time, g, np.array([one.found.mean for one in levels]), roots)


def _smooth_law(levels: list[Level], curves: Mapping[str, Polynomial], time: float | None) -> Law:
    g = np.linspace(levels[0].g, levels[-1].g, KNOTS)
    roots = {part: np.clip(curve(g), 0.0, None) for part, curve in curves.items() if part != "bias"}
    return _law(time, g, curves["bias"](g), roots)


def _law(time: float | None, g: np.ndarray, bias: np.ndarray, roots: Mapping[str, np.ndarray]) -> Law:
    tables = {name: tuple(map(_short, values)) for name, values in {"g": g, "bias": bias, **roots}.items()}
    return Law.model_validate({"time": time, **tables})


def _curves(levels: list[Level], parts: tuple[str, ...]) -> dict[str, Polynomial]:
    g = np.array([one.g for one in levels])
    means, errors = (np.array([getattr(one.found, key) for one in levels]) for key in ("mean", "mean_error"))
    curves = {"bias": smooth(g, means, errors)}
    for place, part in enumerate(parts):
        variances = np.array([one.found.variances[place] for one in levels])
        errors = root_error(variances, np.array([one.found.errors[place] for one in levels]))
        curves[part] = smooth(g, _roots(levels, place), errors, relative=True)
    return curves


def _roots(levels: list[Level], place: int) -> Float[np.ndarray, " levels"]:
    roots: np.ndarray = np.sqrt(np.clip([one.found.variances[place] for one in levels], 0.0, None))
    return roots


def root_error(
    variance: Float[np.ndarray, "*levels"], error: Float[np.ndarray, "*levels"]
) -> Float[np.ndarray, "*levels"]:
    """The standard error of √variance, error / (2 σ); near zero, where that has no limit, √error / √2.

    >>> float(root_error(np.array(4.0), np.array(1.0)))
    0.25
    """
    result: np.ndarray = error / (2 * np.sqrt(np.maximum(variance, error / 2)) + 1e-300)
    return result


def _cells(law: Law, g: np.ndarray) -> np.ndarray:
    """What every cell draws for itself, in the arithmetic of NumPy."""
    tables = (law.cell_to_cell, law.device_to_device, law.cycle_to_cycle)
    variance = [np.interp(g, law.g, table) ** 2 for table in tables if table is not None]
    sigma: np.ndarray = np.sqrt(np.sum(variance, axis=0))
    return sigma


def _goodness(levels: list[Level], curves: Mapping[str, Polynomial], z: np.ndarray) -> Goodness:
    g, sigma = (np.array([getattr(one, name) for one in levels]) for name in ("g", "sigma"))
    error = np.array([one.sigma_error for one in levels])
    bias, bias_error = (
        np.array([getattr(one.found, name) for one in levels]) for name in ("mean", "mean_error")
    )
    if curves:
        parts = [part for part in curves if part != "bias"]
        table = np.array([[*one.found.variances, *one.found.errors] for one in levels])
        squares = np.stack([np.clip(curves[part](g), 0.0, None) ** 2 for part in parts], axis=1)
        return Goodness(
            chi_squared(
                table[:, : len(parts)].ravel(),
                squares.ravel(),
                table[:, len(parts) :].ravel(),
                parameters=sum(curves[part].degree + 1 for part in parts),
            ),
            chi_squared(bias, curves["bias"](g), bias_error, parameters=curves["bias"].degree + 1),
            r_squared(sigma**2, squares.sum(axis=1)),
            normality(z),
        )
    expected, difference = from_neighbours(g, sigma, error)
    expected_bias, bias_difference = from_neighbours(g, bias, bias_error)
    return Goodness(
        chi_squared(sigma[1:-1], expected, difference),
        chi_squared(bias[1:-1], expected_bias, bias_difference),
        r_squared(sigma[1:-1] ** 2, expected**2),
        normality(z),
    )


def _remarks(m: Measurements, found: tuple[TimeFit, ...]) -> list[str]:
    remarks = []
    if m.ignored:
        remarks.append(f"columns that say nothing to this fit: {', '.join(m.ignored)}")
    widest = max(max(level.sigma, abs(level.found.mean)) for one in found for level in one.levels)
    if widest > 1:
        remarks.append(
            f"σ or bias reaches {100 * widest:.0f} % of G_max, which no cell does: is the file in another "
            "unit, or does it hold resistances (kΩ: write 1/R) or currents (nA: write I/V)"
        )
    low, high = found[0].law.valid
    if low > 0.01 or high < 0.99:
        held = " and ".join([f"below {low:.3g}"] * (low > 0.01) + [f"above {high:.3g}"] * (high < 0.99))
        remarks.append(f"{held} of G_max nothing was measured: there, the nearest measured values hold")
    if found[0].law.die_to_die is not None:
        dies = int(m.die.max()) + 1 if m.die is not None else 0
        remarks.append(
            f"die_to_die rests on {dies} dies: its error is about {100 / (2 * (dies - 1)) ** 0.5:.0f} %"
        )
    return remarks


def _of_stuck(m: Measurements, stuck: Stuck, *, split: bool) -> list[str]:
    if not stuck.any:
        return []
    if split:
        said = f"{stuck.words()} of {m.target.size} rows look stuck, and are split off as stuck_at"
        return [f"{said}; their shares are of the levels that can tell"]
    said = f"{stuck.words()} of {m.target.size} rows look stuck, whatever was written, and widen σ"
    return [f"{said}: --split-stuck fits the others and adds stuck_at"]


def _short(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")
