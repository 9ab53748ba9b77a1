"""`everychip device fit`: from a CSV of measurements to a device, and how well it fits, in words."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everychip.cli.printing import print_json
from everychip.cli.watching import console, waiting
from everychip.errors import ConfigError

if TYPE_CHECKING:
    from everychip.device_fit import Fit, TimeFit
    from everychip.device_fit.goodness import ChiSquared
    from everychip.report.blocks import Table

WIDTH = 80
DOUBT = 0.01
"""Below this p-value, the fit is said to be doubtful."""


@dataclass(frozen=True)
class Asked:
    """What the options of the command say."""

    unit: str
    measured_unit: str | None = None
    read_voltage: float | None = None
    g_max: float | None = None
    column: tuple[str, ...] = ()
    decimal: str | None = None
    skip_invalid: bool = False
    smooth: bool = False
    bins: int | None = None
    same_order: bool = False
    split_stuck: bool = False

    def words(self) -> str:
        """The options as they are typed.

        >>> Asked("uS", bins=8, smooth=True).words()
        '--unit uS --smooth --bins 8'
        """
        words = []
        for field in fields(self):
            option, value = f"--{field.name.replace('_', '-')}", getattr(self, field.name)
            if value is True:
                words.append(option)
            elif value not in (None, False):
                values = value if isinstance(value, tuple) else (value,)
                words += [f"{option} {shlex.quote(str(one))}" for one in values]
        return " ".join(words)

    def columns(self) -> dict[str, str]:
        """The file's own names of columns."""
        pairs = [one.partition("=") for one in self.column]
        for (name, sign, own), text in zip(pairs, self.column, strict=True):
            if not (name.strip() and sign and own.strip()):
                raise ConfigError("--column", found=repr(text), expected="NAME=OWN, as in measured=I_nA")
        return {name.strip(): own.strip() for name, _, own in pairs}


def fit(measured: Path, asked: Asked, output: Path | None, *, as_json: bool = False) -> int:
    """Read, fit, write, tell: nothing is written unless all of it could be computed."""
    from everychip.device_fit import write
    from everychip.device_fit.writing import refuse_output

    target = output or Path(f"{measured.stem}.toml")
    refuse_output(target, source=measured)
    with waiting(f"Fitting {measured.name}"):
        found = _fitted(measured, asked, name=target.stem)
        command = f"everychip device fit {shlex.quote(measured.name)} {asked.words()}"
        goodness = [line for one in found.times for line in _goodness(one)]
        comments = (command, _about(found), *goodness, *found.remarks)
        device, plot = write(found, target, comments=comments)
    if as_json:
        return print_json(_facts(found, device, plot))
    _tell(found, device, plot)
    return 0


def _fitted(measured: Path, asked: Asked, *, name: str) -> Fit:
    from everychip.device_fit import fit as fitted
    from everychip.device_fit import read_csv

    read = read_csv(
        measured,
        unit=asked.unit,
        measured_unit=asked.measured_unit,
        read_voltage=asked.read_voltage,
        g_max=asked.g_max,
        columns=asked.columns(),
        decimal=asked.decimal,
        skip_invalid=asked.skip_invalid,
    )
    return fitted(
        read,
        smooth=asked.smooth,
        bins=asked.bins,
        same_order=asked.same_order,
        split_stuck=asked.split_stuck,
        name=name,
    )


def _facts(found: Fit, device: Path, plot: Path) -> dict[str, Any]:
    """What was fitted, for programs; conductances in units of G_max."""
    return {
        "device": str(device),
        "plot": str(plot),
        "g_max_uS": found.device.g_max,
        "rows": found.rows,
        "times": [{"time": one.time, "levels": _levels(one), "goodness": _tests(one)} for one in found.times],
        "remarks": list(found.remarks),
    }


def _levels(one: TimeFit) -> list[dict[str, Any]]:
    return [
        {"g": level.g, "rows": level.rows, "bias": level.found.mean, "sigma": level.sigma}
        for level in one.levels
    ]


def _tests(one: TimeFit) -> dict[str, float | None]:
    good = one.goodness
    return {
        "p_sigma": None if good.sigma is None else good.sigma.p,
        "p_bias": None if good.bias is None else good.bias.p,
        "p_normal": None if good.normality is None else good.normality.p,
    }


def _tell(found: Fit, device: Path, plot: Path) -> None:
    from everychip.report.terminal import rich_table

    out = console()
    width = min(WIDTH, out.width)

    def say(words: str, style: str = "") -> None:
        out.print(words, highlight=False, markup=False, style=style, width=width)

    say(_about(found), "bold")
    for one in found.times:
        if one.time is not None:
            say(f"At {one.time:g} s", "bold")
        out.print(rich_table(_table(found, one), width=width), width=width)
        for line in _goodness(one):
            say(line)
    for remark in found.remarks:
        say(f"Note: {remark}.", "yellow")
    say(_effective(found))
    if len(found.times) > 1:
        times = ", ".join(f"{time:g}" for time in found.device.times)
        say(f"The device holds at {found.device.time:g} s unless a recipe says time = one of {times}.")
    out.print(f"Device: {device}", soft_wrap=True, highlight=False, markup=False)
    out.print(f"Plot:   {plot}", soft_wrap=True, highlight=False, markup=False)
    file = json.dumps(str(device), ensure_ascii=False)
    recipe = f"hardware = {{ device = {{ file = {file} }}, mapping = {_mapping(found)} }}"
    out.print(f"Recipe: {recipe}", soft_wrap=True, highlight=False, markup=False)


def _mapping(found: Fit) -> str:
    """The mapping as a recipe has it: with G_max / G_min where nothing was measured below G_min."""
    on_off = found.mapping.on_off
    return '"direct"' if on_off is None else f'{{ kind = "direct", on_off = {on_off:g} }}'


def _about(found: Fit) -> str:
    device = found.device
    return f"{device.name}: {found.rows} rows of {device.source}, G_max = {device.g_max:g} µS"


def _table(found: Fit, one: TimeFit) -> Table:
    """One row for each level, in percent of G_max."""
    import numpy as np

    from everychip.report.blocks import Column, Row, Table

    several = found.parts if len(found.parts) > 1 else ()
    short = [part.partition("_")[0] for part in several]
    rows = []
    for level in one.levels:
        cells = [f"{level.g:.3f}", f"{level.g * found.device.g_max:.3g}", str(level.rows)]
        cells.append(f"{100 * level.found.mean:.2f} ± {100 * level.found.mean_error:.2f}")
        cells.append(f"{100 * level.sigma:.2f} ± {100 * level.sigma_error:.2f}")
        cells += [f"{100 * math.sqrt(max(v, 0.0)):.2f}" for v in level.found.variances if several]
        if one.curves:
            tables = [np.interp(level.g, one.law.g, getattr(one.law, part)) for part in found.parts]
            cells.append(f"{100 * math.hypot(*tables):.2f}")
        rows.append(Row(tuple(cells)))
    names = ("g", "µS", "rows", "bias", "σ", *short, *(["law"] if one.curves else []))
    title = "Bias and σ in % of G_max, ± standard error"
    return Table(title, tuple(Column(name) for name in names), tuple(rows))


def _goodness(one: TimeFit) -> list[str]:
    """How well the law fits, in lines."""
    good = one.goodness
    if one.curves:
        degrees = ", ".join(f"{part} {curve.degree}" for part, curve in one.curves.items())
        lines = [f"Polynomials of the degree that predicts left-out levels best: {degrees}."]
        remedy = "the polynomial misses levels; without --smooth, the law goes through them"
    else:
        lines = [
            "Straight lines between levels; tested: each inner level, predicted from its two neighbours."
        ]
        remedy = "straight lines miss levels between; measure more of them, or try --smooth"
    r2 = "" if good.r2 is None else f"; R² of σ² {good.r2:.3f}"
    lines.append(f"σ(g):      {_chi(good.sigma)}{r2}")
    lines.append(f"bias(g):   {_chi(good.bias)}")
    if any(chi is not None and chi.p < DOUBT for chi in (good.sigma, good.bias)):
        lines.append(f"           doubtful: {remedy}")
    test = good.normality
    if test is None:
        return [*lines, "residuals: too few to test"]
    verdict = "normal, as far as they tell"
    if test.p < DOUBT:
        verdict = (
            f"not normal (skewness {test.skewness:.2f}, excess kurtosis {test.excess_kurtosis:.2f}), "
            "but the device draws normal ones"
        )
    return [*lines, f"residuals: K² {test.statistic:.1f} of {test.rows} rows, {_p(test.p)}: {verdict}"]


def _chi(chi: ChiSquared | None) -> str:
    if chi is None:
        return "no χ²: too few levels, or no variation"
    return f"χ² {chi.value:.1f} of {chi.freedom} degrees of freedom, {_p(chi.p)}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _effective(found: Fit) -> str:
    """What the device does to weights, because σ(g) of a device says that only together with a mapping."""
    from everychip.cli.catalogue import normal_matrix
    from everychip.hardware.chip import effective_sigma
    from everychip.hardware.hardware import Hardware

    effective = effective_sigma(normal_matrix(), Hardware(device=found.whole, mapping=found.mapping))
    return (
        f"Weights: σ_W/max|W| {100 * effective.of_max:.2f} %, σ_W/rms(W) {effective.of_rms:.3f} "
        "(one analog cell for each weight, normally distributed weights)"
    )
