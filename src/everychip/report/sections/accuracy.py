"""Accuracy over σ: the curves, and the table of the same numbers."""

from __future__ import annotations

from typing import Any

from everychip.charts.style import spec_of
from everychip.report.blocks import Block, Figure, Section
from everychip.report.blocks import Panel as Chart
from everychip.report.plots import curves, domain_of, point_of, title_of, vertical
from everychip.report.results import Group, Panel, Results
from everychip.report.tables import apart, at_training_sigma, everything, overview
from everychip.report.wording import sigma_text, spread, trained_at

HEIGHT = 300
MANY = 12
"""More σ than this are not all written below the axis."""
AXIS = ["nominal device σ; below it, the", "effective weight noise over rms(W)"]
CAPTION = (
    "Mean over chips and seeds, with its 95 % interval. The dotted vertical line marks the training σ. "
    "The effective weight noise σ_W/rms(W) differs between methods: point at a marker to read it."
)


def section(results: Results, *, target: float | None) -> Section:
    """How accuracy falls as the device gets worse, and what is left at the training σ."""
    figure = over_sigma(results)
    blocks: list[Block] = [figure] if figure else []
    if not results.is_study:  # every number of a single run has them all
        blocks += apart(results, lambda part: everything(part, target=target))
        return Section("accuracy", 20, _heading(results), tuple(blocks))
    blocks += apart(results, lambda part: at_training_sigma(part, target=target))
    if results.sigmas:
        blocks += apart(results, overview)
    return Section("accuracy", 20, _heading(results), tuple(blocks))


def _heading(results: Results) -> str:
    score = results.score
    kept = f"How much {score.name} is left"
    return kept if score.higher_is_better else f"{score.title} under device noise"


def over_sigma(results: Results) -> Figure | None:
    """Mean accuracy over nominal σ with its interval, a panel for each context and training σ."""
    if len(results.sigmas) < 2:
        return None
    panels = [Chart(title_of(results, p, trained_at(p)), _chart(results, p)) for p in results.panels]
    return Figure("accuracy", f"{results.score.title} over device σ", tuple(panels), results.methods, CAPTION)


def _chart(results: Results, panel: Panel) -> dict[str, Any]:
    import altair as alt

    values = [_point(group) for group in panel.over_sigma if group.sigma is not None]
    x = alt.X("sigma:Q", title=AXIS, axis=_axis(panel), scale=alt.Scale(nice=False, padding=6))
    tooltip = [
        "method:N",
        f"{results.score.name}:N",
        "nominal σ:N",
        "σ_W/rms(W):N",
        "σ_W/max|W|:N",
        "chips:N",
    ]
    layers = curves(
        results.method_kinds, x, domain=domain_of(results.groups), tooltip=tooltip, score=results.score
    )
    if panel.sigma_train is not None:
        layers.insert(0, vertical("trained", x))
    return spec_of(layers, height=HEIGHT, points=values, trained=[{"sigma": panel.sigma_train}])


def _point(group: Group) -> dict[str, Any]:
    return {**point_of(group), "sigma": group.sigma, "nominal σ": sigma_text(group.sigma)}


def _axis(panel: Panel) -> Any:
    """A tick at every σ with the effective noise below it; numbers alone where there are many."""
    import altair as alt

    noise: dict[float, list[float]] = {}
    for group in panel.over_sigma:
        if group.sigma is not None:
            noise.setdefault(group.sigma, []).append(group.of_rms)
    if len(noise) > MANY:
        return alt.Axis()
    words = (f"datum.value == {s!r} ? ['{sigma_text(s)}', '{spread(noise[s])}'] : " for s in sorted(noise))
    return alt.Axis(
        values=sorted(noise), labelExpr=f"{''.join(words)}''", labelOverlap="greedy", labelLineHeight=14
    )
