"""The panels of the device pages: a published law as a line, sampled cells as points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from everychip import devices
from everychip.charts.style import Rows, chart_of, spec_of
from everychip.rng import rng_for

CELLS = 4000
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
DAY, YEAR = 86_400.0, 31_536_000.0
Law = Callable[[float], float]


@dataclass(frozen=True)
class Series:
    """One line and its points. fit: the published σ at x; device: sampled at `at`; unit: G_max in x."""

    label: str
    fit: Law
    device: devices.Device
    at: tuple[float, ...]
    span: tuple[float, float]
    unit: float = 1.0

    def line(self) -> Rows:
        """The fit, over its span."""
        xs = np.linspace(*self.span, 81)
        return [{"x": _short(x), "y": _short(self.fit(float(x))), "series": self.label} for x in xs]

    def points(self) -> Rows:
        """σ of as many sampled cells, at every conductance."""
        cells = (self.sample(x) for x in self.at)
        return [
            {"x": _short(x), "y": _short(float(found.std())), "series": self.label}
            for x, found in zip(self.at, cells, strict=True)
        ]

    def sample(self, x: float) -> torch.Tensor:
        """Programmed cells whose target is x, in the unit of the plot."""
        target = torch.full((CELLS,), x / self.unit, dtype=torch.float64)
        return self.device.program(target, rng_for(0, "device pages", self.label, f"{x:g}")) * self.unit


@dataclass(frozen=True)
class Ageing:
    """Cells of one target over time. mean, std: the published laws of the time; at: a device of a time.

    moved_only: the axis is the way from the target.
    """

    label: str
    target: float
    mean: Law
    std: Law
    at: Callable[[float], devices.Device]
    times: tuple[float, ...]
    unit: float
    moved_only: bool = False

    def line(self) -> Rows:
        """The mean and one σ to either side, over the logarithm of time."""
        return [self._row(time, self.mean(time), self.std(time)) for time in self._span()]

    def points(self) -> Rows:
        """The same of sampled cells, at every time."""
        rows = []
        for time in self.times:
            target = torch.full((CELLS,), self.target / self.unit, dtype=torch.float64)
            cells = self.at(time).program(target, rng_for(0, "device pages", self.label)) * self.unit
            rows.append(self._row(time, float(cells.mean()), float(cells.std())))
        return rows

    def _span(self) -> list[float]:
        return [float(t) for t in np.geomspace(self.times[0], self.times[-1], 41)]

    def _row(self, time: float, mean: float, std: float) -> dict[str, Any]:
        mean = mean - self.target if self.moved_only else mean
        low, high = mean - std, mean + std
        values = {"x": time, "y": mean, "low": low, "high": high}
        return {**{name: _short(value) for name, value in values.items()}, "series": self.label}


@dataclass(frozen=True)
class Panel:
    """One chart: its title, its axes and its series; times are drawn on a logarithmic axis."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...] | tuple[Ageing, ...]

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification."""
        import altair as alt

        names = [one.label for one in self.series]
        paint = alt.Color(
            "series:N",
            scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])),
            legend=_legend(names),
        )
        ageing = isinstance(self.series[0], Ageing)
        x = alt.X("x:Q", title=self.x, axis=_times() if ageing else alt.Axis(), scale=_scale(ageing))
        y = alt.Y("y:Q", title=self.y, scale=alt.Scale(zero=True))
        line, points = (chart_of(name).encode(x=x, color=paint) for name in ("fits", "cells"))
        layers = [
            line.mark_line(strokeWidth=1.5, interpolate="linear").encode(y=y),
            points.mark_point(filled=True, size=34, opacity=1).encode(y=y),
        ]
        if ageing:
            layers.insert(0, line.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q"))
            layers.append(points.mark_rule(strokeWidth=1.2).encode(y=alt.Y("low:Q"), y2="high:Q"))
        fits = [row for one in self.series for row in one.line()]
        cells = [row for one in self.series for row in one.points()]
        spec = spec_of(layers, height=230, fits=fits, cells=cells)
        spec.pop("$schema", None)
        return {**spec, "width": 330, "title": self.title}


def _legend(names: Sequence[str]) -> Any:
    import altair as alt

    return alt.Legend(title=None, orient="bottom", columns=3, labelLimit=300) if names != [""] else None


def _times() -> Any:
    import altair as alt

    words = {1.0: "1 s", 60.0: "1 min", 3600.0: "1 h", DAY: "1 day", 30 * DAY: "30 days", YEAR: "1 year"}
    told = "".join(f"datum.value == {time!r} ? '{word}' : " for time, word in words.items())
    return alt.Axis(values=list(words), labelExpr=f"{told}''", labelOverlap=True)


def _scale(ageing: bool) -> Any:
    import altair as alt

    return alt.Scale(type="log", nice=False, padding=8) if ageing else alt.Scale(nice=False, padding=8)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
