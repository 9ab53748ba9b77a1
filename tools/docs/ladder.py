"""The ladder of docs/results/does-feedback-help.md, from the complete runs of a study.

    python tools/docs/ladder.py

draws docs/results/plots/ladder.svg: the mean of each training against its length, a line through their means.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the scripts stand beside this one, whoever runs it

from plot_files import mark_of, side_by_side, write_plot

from everychip.charts.style import Rows, chart_of, spec_of
from everychip.charts.style import percent as in_percent
from everychip.report.wording import percent, points
from everychip.statistics.contrasts import contrasts
from everychip.statistics.intervals import HEADLINE_SEEDS
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

ROOT = Path(__file__).parents[2]
DRAWS = ROOT / "results" / "unfinished" / "feedback-ladder.parquet"
PLOT = ROOT / "docs" / "results" / "plots" / "ladder.svg"
CLIPPED = ", ramp + clip"
LENGTHS = ("3 epochs", "10 epochs", "30 epochs", "100 epochs", "300 epochs")
CONTROL = "temperature"
ARMS = (
    "noise_injection",
    CONTROL,
    "T+BN",
    "irs β 0.01",
    "irs β 0.1",
    "irs β 0.1, frozen exits",
    "ovf (backbone)",
    "ovf (all)",
    "deep_supervision, T = 4",
)
PRIMARY = {
    "irs β 0.01 − temperature": ("irs β 0.01", CONTROL),
    "irs β 0.1 − temperature": ("irs β 0.1", CONTROL),
    "ovf (all) − temperature": ("ovf (all)", CONTROL),
    "ovf (all) − T+BN": ("ovf (all)", "T+BN"),
}
"""The contrasts that the recipe fixed before the first run."""

By = dict[int, list[float]]


def accuracies(variant: str) -> dict[str, dict[int, list[float]]]:
    """The accuracy of every chip by arm and seed."""
    words = (
        f"select method, seed, accuracy from draws where variant = '{variant}' order by method, seed, chip"
    )
    found: dict[str, dict[int, list[float]]] = {}
    for method, seed, accuracy in query(DRAWS, words)[1]:
        found.setdefault(str(method), {}).setdefault(int(seed), []).append(accuracy)
    return found


def table(suffix: str = CLIPPED) -> str:
    """One row for each arm: its mean at every length, and the paired difference to temperature."""
    shown = [name for name in LENGTHS if accuracies(name + suffix)]
    lines = [f"| arm | {' | '.join(shown)} | seeds | to {CONTROL} [95 %], at its longest |"]
    lines.append("|---|" + "---:|" * (len(shown) + 2))
    by_length = {name: accuracies(name + suffix) for name in shown}
    for arm in ARMS:
        cells = [mean(by_length[name].get(arm, {})) for name in shown]
        seeds = [str(len(by_length[name].get(arm, {}))) for name in shown]
        lines.append(f"| {arm} | {' | '.join(cells)} | {', '.join(seeds)} | {difference(arm, by_length)} |")
    return "\n".join(lines)


def as_published() -> str:
    """The same without ramp and clip."""
    return table("")


def mean(by_seed: dict[int, list[float]]) -> str:
    """The mean over seeds and chips, in %."""
    chips = [value for values in by_seed.values() for value in values]
    return percent(sum(chips) / len(chips)) if chips else "–"


def difference(arm: str, by_length: dict[str, dict[str, dict[int, list[float]]]]) -> str:
    """The arm less temperature, over the seeds that both have, where these are enough."""
    for length in reversed(list(by_length)):
        mine, control = by_length[length].get(arm, {}), by_length[length].get(CONTROL, {})
        both = mine.keys() & control.keys()
        if arm != CONTROL and len(both) >= HEADLINE_SEEDS:
            return f"{points(compare_seeds(*paired(mine, control)).difference)} ({length}, {len(both)} seeds)"
    return "–"


def paired(one: By, other: By) -> tuple[By, By]:
    """Both with the seeds that both have."""
    both = sorted(one.keys() & other.keys())
    return {seed: one[seed] for seed in both}, {seed: other[seed] for seed in both}


def primary() -> str:
    """The primary contrasts, judged at every length at which all of them have seeds enough."""
    head = "| length | contrast | seeds | difference [95 %] | p | p of equivalence | finding |"
    lines = [head, "|---|---|---:|---:|---:|---:|---|"]
    for length in LENGTHS:
        known = accuracies(length + CLIPPED)
        pairs = {name: paired(*(known.get(arm, {}) for arm in arms)) for name, arms in PRIMARY.items()}
        if any(len(one) < HEADLINE_SEEDS for one, _ in pairs.values()):
            continue
        for name, found in contrasts(pairs).items():
            p, q = (
                ("–" if value is None else f"{value:.2g}")
                for value in (found.p_difference, found.p_equivalence)
            )
            shown = f"{points(found.difference)} | {p} | {q} | {found.finding}"
            lines.append(f"| {length} | {name} | {found.seeds} | {shown} |")
    return "\n".join(lines)


def doublings() -> str:
    """What doubling the length adds to the mean of each arm, in points, over the seeds of both lengths."""
    found = {length: accuracies(length + CLIPPED) for length in LENGTHS}
    steps = [(a, b) for a, b in itertools.pairwise(LENGTHS) if found[b]]
    heads = [f"{a.split()[0]} → {b}" for a, b in steps]
    lines = [f"| arm | {' | '.join(heads)} |", "|---|" + "---:|" * len(steps)]
    for arm in ARMS:
        cells = []
        for a, b in steps:
            short, long = paired(found[a].get(arm, {}), found[b].get(arm, {}))
            gain = mean_of(long) - mean_of(short) if short else math.nan
            per = 100 * gain / math.log2(int(b.split()[0]) / int(a.split()[0]))
            cells.append(f"{per:+.1f} ({len(short)})".replace("-", "−") if short else "–")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def exits() -> str:
    """What the exits say by themselves in the last epoch, beside the backbone, on validation chips."""
    runs = json.loads(DRAWS.with_suffix(".json").read_text(encoding="utf-8"))["runs"]
    lines = [
        "| arm, with ramp + clip | seeds | backbone | exit 1 | exit 2 | exit 3 |",
        "|---|---:|" + "---:|" * 4,
    ]
    for length in LENGTHS:
        for arm in ARMS:
            of = {"method": arm, "variant": length + CLIPPED}
            ends = [run["history"][-1] for run in runs if of.items() <= run["labels"].items()]
            if ends and "exit1" in ends[0] and length in LENGTHS[2:]:
                cells = [
                    percent(fmean(end[name] for end in ends))
                    for name in ("accuracy", "exit1", "exit2", "exit3")
                ]
                lines.append(f"| {arm}, {length} | {len(ends)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mean_of(by_seed: By) -> float:
    """The mean over seeds of the mean over chips."""
    return fmean(fmean(chips) for chips in by_seed.values())


def drawn(suffix: str) -> Rows:
    """The mean over chips of every training, by arm and length."""
    return [
        {
            "arm": arm,
            "epochs": int(length.split()[0]),
            "accuracy": in_percent(fmean(chips)),
            "mean": in_percent(mean_of(by_seed)),
        }
        for length in LENGTHS
        for arm, by_seed in accuracies(length + suffix).items()
        for chips in by_seed.values()
    ]


def chart(suffix: str, title: str) -> dict[str, Any]:
    """A dot for each training, and a line through the means of each arm."""
    import altair as alt

    rows = drawn(suffix)
    scale = alt.Scale(type="log", domain=[3, 300])
    x = alt.X("epochs:Q", title="epochs", scale=scale, axis=alt.Axis(values=[3, 10, 30, 100, 300]))
    color = alt.Color(
        "arm:N", title=None, sort=list(ARMS), scale=alt.Scale(domain=list(ARMS), scheme="tableau10")
    )
    base = chart_of("trainings").encode(x=x, color=color)
    y = alt.Y("accuracy:Q", title="mean accuracy of the chips in %", scale=alt.Scale(domain=[0, 100]))
    dots = base.mark_circle(size=30, opacity=0.5).encode(y=y)
    lines = base.mark_line(strokeWidth=1.6).encode(y=alt.Y("mean:Q"))
    return {**spec_of([lines, dots], height=320, trainings=rows), "width": 300, "title": title}


def mark() -> str:
    """What the plot shows, by its hash."""
    return mark_of("ladder", [drawn(CLIPPED), drawn("")])


def main() -> None:
    charts = [chart(CLIPPED, "with ramp + clip(1.3)"), chart("", "as published")]
    write_plot(PLOT, side_by_side(charts, columns=2), mark())


if __name__ == "__main__":
    main()
