"""How a network whose exits stay should answer: the tables and the plot of docs/results/multi-exit.md.

    python tools/docs/policies.py

draws the plot; `fill_tables.py` writes the tables. Both read results/policies-cifar10.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the scripts stand beside this one, whoever runs it

from plot_files import mark_of, side_by_side, write_plot

from everychip.charts.macs_chart import Point, macs_chart
from everychip.report.wording import percent, points, quantity
from everychip.statistics.intervals import HEADLINE_SEEDS, Difference, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.statistics.percentiles import kpp
from everychip.storage.table import query

ROOT = Path(__file__).parents[2]
RESULTS, PLOT = ROOT / "results" / "policies-cifar10", ROOT / "docs" / "results" / "plots" / "policies.svg"
COMBINED, RECALIBRATED, PLAIN = "combined", "bn_recalibration", "ramp + clip"
EARLY, FITTED = ("early, loss 0.01",), ("per_chip, labels", "per_chip, no labels")
POINT, HALF = 0.01, 0.5

Chips = dict[int, list[float]]


@cache
def study() -> dict[str, Any]:
    """What the study says of its runs."""
    return dict(json.loads((RESULTS / "study.json").read_text(encoding="utf-8")))


def runs(**labels: str) -> list[dict[str, Any]]:
    """What the study says of the runs with these labels."""
    return [run for run in study()["runs"] if labels.items() <= run["labels"].items()]


def policies(**labels: str) -> list[str]:
    """The ways to answer that were measured, in the order of the recipe."""
    measured = {run["labels"]["policy"] for run in runs(**labels)}
    return [name for name in study()["axes"]["policy"] if name in measured]


def accuracies(**labels: str) -> Chips:
    """The accuracy of every chip, by seed."""
    names = ", ".join(f"'{run['id']}'" for run in runs(**labels))
    found: Chips = {}
    words = f"select seed, accuracy from draws where run in ({names}) order by seed, chip"
    for seed, accuracy in query(RESULTS / "draws.parquet", words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def taken(**labels: str) -> dict[str, float]:
    """What one input takes, on average over the trainings."""
    said = [run["answers"][0] for run in runs(**labels)]
    return {name: fmean(one[name] for one in said) for name in ("macs", "layers", "energy_j", "of_combined")}


def pooled(chips: Chips) -> list[float]:
    return [value for seed in chips.values() for value in seed]


def table(sigma: str) -> str:
    """A row for each training and way to answer: what its chips reach and what an input takes."""
    lines = [
        "| training | answer | seeds | mean [95 %] | KPP5 | worst | less combined [95 %] | MACs | energy |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for training in study()["axes"]["training"]:
        at = {"sigma_train": sigma, "training": training}
        combined = accuracies(policy=COMBINED, **at)
        for policy in policies(**at):
            chips, cost = accuracies(policy=policy, **at), taken(policy=policy, **at)
            all_chips = pooled(chips)
            mean = percent(fmean(all_chips))
            gain = "–"
            if len(chips) >= HEADLINE_SEEDS:
                mean += f" {seeds_interval(chips).bounds(scale=100, digits=1)}"
                gain = "–" if policy == COMBINED else points(compare_seeds(chips, combined).difference)
            lines.append(
                f"| {training} | {policy} | {len(chips)} | {mean} | {percent(kpp(all_chips).estimate)} "
                f"| {percent(min(all_chips))} | {gain} | {cost['of_combined']:.0%} "
                f"| {quantity(cost['energy_j'], 'J')} |"
            )
    return "\n".join(lines)


def bars(sigma: str) -> str:
    """Bars (c) and (d) of the work that asked for this, each with what was measured."""
    lines = ["| bar | measured [95 %] | shown |", "|---|---|---|"]
    at = {"sigma_train": sigma, "training": PLAIN}
    combined, plain = accuracies(policy=COMBINED, **at), accuracies(policy=RECALIBRATED, **at)
    for policy in EARLY:
        lost = compare_seeds(accuracies(policy=policy, **at), combined).difference
        share = taken(policy=policy, **at)["of_combined"]
        shown = share <= HALF and lost.low is not None and lost.low >= -POINT
        words = f"{points(lost)} points at {share:.0%} of the MACs"
        lines.append(f"| (c) {policy}: half the MACs, within a point of combined | {words} | {yes(shown)} |")
    for policy in FITTED:
        own = accuracies(policy=policy, **at)
        for what, gain in (("mean", compare_seeds(own, plain).difference), ("KPP5", fifth(own, plain))):
            bar = f"(d) {policy}: {what} above batch norm measured again"
            lines.append(f"| {bar} | {points(gain)} points | {yes(above(gain))} |")
    return "\n".join(lines)


def fifth(one: Chips, other: Chips) -> Difference:
    """The difference of two fifth percentiles over chips, seed by seed."""
    sides = ({seed: [kpp(chips).estimate] for seed, chips in of.items()} for of in (one, other))
    return compare_seeds(*sides).difference


def above(gain: Difference) -> bool:
    return gain.low is not None and gain.low > 0


def yes(shown: bool) -> str:
    return "yes" if shown else "no"


FAMILIES = {"last": "one output alone", "exit": "one output alone", RECALIBRATED: "fitted to each chip"}
FAMILIES |= {"early": "early", COMBINED: COMBINED, "per_chip": "fitted to each chip"}


def drawn(training: str) -> list[Point]:
    """A point for each way to answer, with its chips and, of three trainings or more, its interval."""
    found, at = [], {"sigma_train": "0.4", "training": training}
    for policy in policies(**at):
        chips = accuracies(policy=policy, **at)
        low = high = mean = fmean(pooled(chips))
        if len(chips) >= HEADLINE_SEEDS:
            interval = seeds_interval(chips)
            low, high = (mean if bound is None else bound for bound in (interval.low, interval.high))
        family = next(FAMILIES[name] for name in FAMILIES if policy.startswith(name))
        macs = taken(policy=policy, **at)["macs"]
        found.append(Point(policy, family, macs, mean, low, high, tuple(pooled(chips))))
    return found


def panels() -> dict[str, list[Point]]:
    """The points of each training."""
    return {training: drawn(training) for training in study()["axes"]["training"]}


def mark() -> str:
    """What the plot shows, by its hash."""
    told = {name: [vars(point) for point in points] for name, points in panels().items()}
    return mark_of("policies", told)


def main() -> None:
    size = {"width": 250, "height": 260}
    charts = [{**macs_chart(points), **size, "title": name} for name, points in panels().items()]
    write_plot(PLOT, side_by_side(charts, columns=3), mark())


if __name__ == "__main__":
    main()
