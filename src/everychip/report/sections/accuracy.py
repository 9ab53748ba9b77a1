"""Accuracy over σ: the curves, and the table of the same numbers."""

from __future__ import annotations

import math
from typing import Any

from everychip.report.blocks import Block, Figure, Section
from everychip.report.blocks import Panel as Chart
from everychip.report.plots import chart_of, colour, dash, percent, shape, spec_of, title_of, vertical
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import apart, at_training_sigma, everything, overview, verdict_of
from everychip.report.wording import count, effective, mean_of, sigma_text, spread, trained_at

HEIGHT = 300
CAPTION = (
    "Mean over chips and seeds, with its 95 % interval. The dotted vertical line marks the training σ. "
    "The effective weight noise σ_W/rms(W) differs between methods: point at a marker to read it."
)


def section(results: Results, *, target: float | None) -> Section:
    """How accuracy falls as the device gets worse, and what is left at the training σ."""
    figure = curves(results)
    blocks: list[Block] = [figure] if figure else []
    blocks += apart(results, lambda part: at_training_sigma(part, target=target))
    blocks += apart(
        results, lambda part: overview(part) if part.is_study else everything(part, target=target)
    )
    return Section("accuracy", 20, "How much accuracy is left", tuple(blocks))


def curves(results: Results) -> Figure | None:
    """Mean accuracy over nominal σ with its interval, a panel for each context and training σ."""
    if len(results.sigmas) < 2:
        return None
    panels = [Chart(title_of(results, p, trained_at(p)), _chart(results, p)) for p in results.panels]
    return Figure("accuracy", "Accuracy over device σ", tuple(panels), results.methods, CAPTION)


def _chart(results: Results, panel: Panel) -> dict[str, Any]:
    import altair as alt

    values = [_point(group) for group in panel.groups if group.sigma is not None]
    hover = alt.selection_point(fields=["method"], on="pointerover", clear="pointerout", name="hover")
    ticks = alt.Axis(values=list(results.sigmas)) if len(results.sigmas) <= 12 else alt.Axis()
    x = alt.X("sigma:Q", title=_axis(panel), axis=ticks, scale=alt.Scale(nice=False, padding=6))
    scale = alt.Scale(domain=_domain(results), nice=False)
    y = alt.Y("mean:Q", title="accuracy in %", scale=scale)
    vivid = alt.condition(hover, alt.value(1.0), alt.value(0.15))
    faint = alt.condition(hover, alt.value(0.16), alt.value(0.02))
    base = chart_of("points").encode(x=x, color=colour(results.methods))
    band = base.mark_area(clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q", opacity=faint)
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=y, opacity=vivid, strokeDash=dash(results.methods)
    )
    dots = base.mark_point(filled=True, size=46).encode(
        y=y,
        opacity=vivid,
        shape=shape(results.methods),
        tooltip=["method:N", "accuracy:N", "nominal σ:N", "σ_W/rms(W):N", "σ_W/max|W|:N", "chips:N"],
    )
    layers = [band, line, dots.add_params(hover)]
    if panel.sigma_train is not None:
        layers.insert(0, vertical("trained", x))
    return spec_of(layers, height=HEIGHT, points=values, trained=[{"sigma": panel.sigma_train}])


def _point(group: Group) -> dict[str, Any]:
    mean = verdict_of(group).mean
    low = mean.estimate if mean.low is None else max(mean.low, 0.0)
    high = mean.estimate if mean.high is None else min(mean.high, 1.0)
    return {
        "method": group.method,
        "sigma": group.sigma,
        "mean": percent(mean.estimate),
        "low": percent(low),
        "high": percent(high),
        "accuracy": f"{mean_of(mean)} %",
        "nominal σ": sigma_text(group.sigma),
        "σ_W/rms(W)": effective(group.of_rms),
        "σ_W/max|W|": effective(group.of_max),
        "chips": f"{group.chips} of {count(group.seeds, 'training seed')}",
    }


def _axis(panel: Panel) -> str:
    largest = max((group.sigma for group in panel.groups if group.sigma is not None), default=None)
    noise = spread(group.of_rms for group in panel.groups if group.sigma == largest)
    return f"nominal device σ   (σ = {sigma_text(largest)}: σ_W/rms(W) {noise})"


def _domain(results: Results) -> list[float]:
    """One vertical scale for all panels, from the next ten below the lowest mean."""
    lowest = min(verdict_of(group).mean.estimate for group in results.groups)
    return [10.0 * math.floor(10 * lowest), 100.0]
