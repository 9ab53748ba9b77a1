"""The plot of a fit: σ and bias with what the levels say, and the residuals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from everychip.charts.style import GREY, STYLE, Rows, chart_of, spec_of
from everychip.device_fit.fitting import Fit, Level, TimeFit, root_error
from everychip.report.chart_files import INK
from everychip.report.palette import OTHERS

WIDTH, HEIGHT = 360, 220
POINTS = 500
"""More residuals than this are thinned evenly: a plot need not show each."""
COLOURS = {
    "total": "#222222",
    "cell_to_cell": "#0072b2",
    "device_to_device": "#0072b2",
    "cycle_to_cycle": "#e69f00",
    "die_to_die": "#d55e00",
    "bias": OTHERS[0],
}


def chart(fit: Fit) -> dict[str, Any]:
    """The Vega-Lite specification: σ(g), bias(g) and the residuals of every time."""
    panels = []
    for one in fit.times:
        law = _law_rows(fit, one)
        panels += [
            _panel("Standard deviation, % of G_max", law["sigma"], _sigma_points(fit, one), one),
            _panel("Bias, % of G_max", law["bias"], _bias_points(one), one),
            *_residual_panels(one),
        ]
    style = json.loads(json.dumps(STYLE).replace("currentColor", INK))
    title = f"{fit.device.name or fit.device.kind}: {fit.rows} rows of {fit.device.source}"
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": f"{title}, G_max = {fit.device.g_max:g} µS", "anchor": "start"},
        "concat": panels,
        "columns": 2,
        "spacing": 30,
        "resolve": {"scale": {"color": "independent"}},
        "config": {**style, "background": "white"},
    }


def _law_rows(fit: Fit, one: TimeFit) -> dict[str, Rows]:
    g = np.unique(np.concatenate([np.linspace(*one.law.valid, 65), one.law.g]))
    tables = {part: np.interp(g, one.law.g, getattr(one.law, part)) for part in fit.parts}
    if len(tables) > 1:
        tables["total"] = np.sqrt(sum(table**2 for table in tables.values()))
    bias = np.interp(g, one.law.g, one.law.bias)
    return {
        "sigma": [row for part, table in tables.items() for row in _rows(g, table, part)],
        "bias": _rows(g, bias, "bias"),
    }


def _rows(g: np.ndarray, values: np.ndarray, part: str) -> Rows:
    percents = zip(g.tolist(), (100 * values).tolist(), strict=True)
    return [{"g": round(x, 5), "value": round(y, 5), "part": part} for x, y in percents]


def _sigma_points(fit: Fit, one: TimeFit) -> Rows:
    points = []
    for level in one.levels:
        for place, part in enumerate(fit.parts):
            variance, error = level.found.variances[place], level.found.errors[place]
            root = float(np.sqrt(max(variance, 0.0)))
            points.append(_point(level, root, float(root_error(variance, error)), part))
        if len(fit.parts) > 1:
            points.append(_point(level, level.sigma, level.sigma_error, "total"))
    return points


def _bias_points(one: TimeFit) -> Rows:
    return [_point(level, level.found.mean, level.found.mean_error, "bias") for level in one.levels]


def _point(level: Level, value: float, error: float, part: str) -> dict[str, Any]:
    low, high = (100 * (value + sign * 1.96 * error) for sign in (-1, 1))
    low = max(low, 0.0) if part != "bias" else low
    return {"g": level.g, "value": 100 * value, "low": low, "high": high, "part": part}


def _panel(title: str, law: Rows, points: Rows, one: TimeFit) -> dict[str, Any]:
    """The law as lines, the levels as points with 95 % intervals."""
    import altair as alt

    parts = list(dict.fromkeys(row["part"] for row in law))
    legend = alt.Legend(title=None) if len(parts) > 1 else None
    scale = alt.Scale(domain=parts, range=[COLOURS[part] for part in parts])
    colour = alt.Color("part:N", scale=scale, legend=legend)
    x = alt.X("g:Q", title="Target conductance, of G_max", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=parts != ["bias"]))
    line = chart_of("law").mark_line(clip=True).encode(x=x, y=y, color=colour)
    whole = chart_of("points").mark_rule(opacity=0.6).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    point = chart_of("points").mark_point(filled=True, size=30, opacity=1).encode(x=x, y=y, color=colour)
    return _framed(spec_of([line, whole, point], height=HEIGHT, law=law, points=points), title, one)


def _residual_panels(one: TimeFit) -> list[dict[str, Any]]:
    """Standardised residuals over g, and sorted against the quantiles of a normal law."""
    import altair as alt
    from scipy.stats import norm

    order = np.argsort(one.residuals)
    quantiles = np.empty(order.size)
    quantiles[order] = norm.ppf((np.arange(order.size) + 0.5) / max(order.size, 1))
    thin = order[:: max(1, order.size // POINTS)] if order.size else order
    chosen = np.concatenate([order[:20], thin, order[-20:]]) if order.size else order
    rows: Rows = [
        {
            "g": float(one.at[i]),
            "z": round(float(one.residuals[i]), 4),
            "normal": round(float(quantiles[i]), 4),
        }
        for i in np.unique(chosen)
    ]
    ends = [{"normal": side, "z": side, "g": place} for side, place in ((-3.5, 0.0), (3.5, 1.0))]
    lines = [{"level": level} for level in (-2, 0, 2)]
    dots: dict[str, Any] = {"opacity": 0.35, "size": 10, "filled": True, "color": COLOURS["cell_to_cell"]}
    y = alt.Y("z:Q", title=None)
    g = alt.X("g:Q", title="Target conductance, of G_max", scale=alt.Scale(domain=[0, 1]))
    normal = alt.X("normal:Q", title="Quantile of a normal law")
    over = [
        chart_of("rows").mark_point(**dots).encode(x=g, y=y),
        chart_of("lines").mark_rule(strokeDash=[2, 2], color=GREY).encode(y="level:Q"),
    ]
    against = [
        chart_of("rows").mark_point(**dots).encode(x=normal, y=y),
        chart_of("ends").mark_line(strokeDash=[2, 2], color=GREY).encode(x=normal, y=y),
    ]
    return [
        _framed(spec_of(over, height=HEIGHT, rows=rows, lines=lines), "Residuals, in σ", one),
        _framed(spec_of(against, height=HEIGHT, rows=rows, ends=ends), "Residuals, sorted, in σ", one),
    ]


def _framed(spec: dict[str, Any], title: str, one: TimeFit) -> dict[str, Any]:
    spec.pop("$schema", None)
    when = "" if one.time is None else f", at {one.time:g} s"
    return {**spec, "width": WIDTH, "title": title + when}
