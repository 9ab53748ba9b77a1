"""The board of CIFAR-10 at 32 × 32, from the complete runs of three studies that ask for its rows.

    python tools/docs/board.py

draws docs/results/plots/board.svg: every chip a dot, the mean a line. Rows that `multi-exit-cifar10` or `zoo`
ask for, too, have one run, made there: the same recipe, the same chips.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the scripts stand beside this one, whoever runs it

from plot_files import mark_of, side_by_side, write_plot

from everychip.charts.style import Rows, chart_of, spec_of
from everychip.charts.style import percent as in_percent
from everychip.report.wording import percent
from everychip.statistics.intervals import HEADLINE_SEEDS, seeds_interval
from everychip.storage.table import query

ROOT = Path(__file__).parents[2]
UNFINISHED, PLOT = ROOT / "results" / "unfinished", ROOT / "docs" / "results" / "plots" / "board.svg"
OWN = "board-cifar10-32"
SAME = {
    "vanilla": ("zoo-cifar10", "method = 'vanilla' and model = 'vgg8'"),
    "noise_injection": (
        "multi-exit-cifar10",
        "method = 'noise_injection (published)' and model = 'vgg8' and sigma_train = '{at}'",
    ),
    "noise_injection(clip)": (
        "multi-exit-cifar10",
        "method = 'ramp + clip' and model = 'vgg8' and sigma_train = '{at}'",
    ),
    "multi_exit(clip)": (
        "multi-exit-cifar10",
        "method = 'ramp + clip' and model = 'vgg8 with exits' and sigma_train = '{at}'",
    ),
}
"""Rows that another study has trained by the same recipe: its name, and which of its draws they are."""
CONTROL = "noise_injection(clip)"

Chips = dict[int, list[float]]


def accuracies(sigma: float, trained_at: str) -> dict[str, Chips]:
    """The accuracy of every chip by method and seed, in the order of the chips."""
    found: dict[str, Chips] = {}
    if (UNFINISHED / f"{OWN}.parquet").exists():
        for method, seed, accuracy in _drawn(OWN, "method", f"sigma_train = '{trained_at}'", sigma):
            found.setdefault(str(method), {}).setdefault(int(seed), []).append(accuracy)
    for method, (study, chosen) in SAME.items():
        for _, seed, accuracy in _drawn(study, "seed", chosen.format(at=trained_at), sigma):
            found.setdefault(method, {}).setdefault(int(seed), []).append(accuracy)
    return found


def _drawn(study: str, name: str, chosen: str, sigma: float) -> list[Any]:
    words = f"select {name}, seed, accuracy from draws where {chosen} and abs(sigma - {sigma}) < 1e-9"
    return list(query(UNFINISHED / f"{study}.parquet", f"{words} order by {name}, seed, chip")[1])


def table(sigma: str) -> str:
    """A row for each method, the best mean first: all its trainings, and the first beside the control's."""
    noisy, clean = accuracies(float(sigma), sigma), accuracies(0.0, sigma)
    head = f"| method | trainings | σ 0 | σ {sigma} | 5th percentile | worst chip | less control, seed 0 |"
    lines = [head, "|---|" + "---:|" * 6]
    for method in _ranked(noisy):
        mean = percent(_over(fmean, noisy[method]))
        if len(noisy[method]) >= HEADLINE_SEEDS:
            mean += f" {seeds_interval(noisy[method]).bounds(scale=100, digits=1)}"
        first = _over(fmean, {0: noisy[method][0]}) - fmean(noisy[CONTROL][0])
        cells = [
            method,
            str(len(noisy[method])),
            percent(_over(fmean, clean[method])),
            mean,
            percent(_over(_fifth, noisy[method])),
            percent(_over(min, noisy[method])),
            "–" if method == CONTROL else f"{100 * first:+.1f}".replace("-", "−"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def chips_drawn() -> Rows:
    """Every chip at σ 0.4, the best method first, with the mean of its method."""
    noisy = accuracies(0.4, "0.4")
    return [
        {"method": method, "accuracy": in_percent(chip), "mean": in_percent(_over(fmean, noisy[method]))}
        for method in _ranked(noisy)
        for chips in noisy[method].values()
        for chip in chips
    ]


def chart() -> dict[str, Any]:
    """A strip of chips for each method."""
    import altair as alt

    rows = chips_drawn()
    y = alt.Y("method:N", sort=None, title=None, axis=alt.Axis(grid=True, ticks=False, labelLimit=300))
    base = chart_of("chips").encode(y=y)
    x = alt.X("accuracy:Q", title="accuracy of each chip in %", scale=alt.Scale(zero=False))
    dots = base.mark_circle(size=28, opacity=0.35, color="#0072b2").encode(x=x)
    means = base.mark_tick(size=16, thickness=2.5, color="#d55e00").encode(x=alt.X("mean:Q"))
    return {
        **spec_of([dots, means], height=22 * len({row["method"] for row in rows}), chips=rows),
        "width": 480,
    }


def mark() -> str:
    """What the plot shows, by its hash."""
    return mark_of("board", chips_drawn())


def main() -> None:
    write_plot(PLOT, side_by_side([chart()], columns=1), mark())


def _ranked(found: dict[str, Chips]) -> list[str]:
    """The methods, the best mean first."""
    return sorted(found, key=lambda one: -_over(fmean, found[one]))


def _over(of: Callable[[list[float]], float], chips: Chips) -> float:
    """A number of each training's chips, its mean over trainings; the worst chip is that of all."""
    each = [of(values) for values in chips.values()]
    return min(each) if of is min else fmean(each)


def _fifth(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[0]


if __name__ == "__main__":
    main()
