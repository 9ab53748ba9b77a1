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
from everychip.hardware.coverage import short
from everychip.report.wording import percent, points, quantity
from everychip.statistics.intervals import Difference, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.statistics.percentiles import kpp
from everychip.storage.table import query

ROOT = Path(__file__).parents[2]
RESULTS, PLOT = ROOT / "results" / "policies-cifar10", ROOT / "docs" / "results" / "plots" / "policies.svg"
COMBINED, RECALIBRATED, POINT = "combined", "bn_recalibration", 0.01
HALF = 0.5

Chips = dict[int, list[float]]


@cache
def study() -> dict[str, Any]:
    """What the study says of its runs."""
    return dict(json.loads((RESULTS / "study.json").read_text(encoding="utf-8")))


def policies(sigma: str) -> list[str]:
    """The ways to answer that were measured at a σ, in the order of the recipe."""
    measured = {run["labels"]["policy"] for run in study()["runs"] if run["labels"]["sigma_train"] == sigma}
    return [name for name in study()["axes"]["policy"] if name in measured]


def accuracies(policy: str, sigma: str) -> Chips:
    """The accuracy of every chip, by seed."""
    asked = {"policy": policy, "sigma_train": sigma}
    runs = [run["id"] for run in study()["runs"] if asked.items() <= run["labels"].items()]
    names = ", ".join(f"'{name}'" for name in runs)
    found: Chips = {}
    words = f"select seed, accuracy from draws where run in ({names}) order by seed, chip"
    for seed, accuracy in query(RESULTS / "draws.parquet", words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def taken(policy: str, sigma: str) -> dict[str, float]:
    """What one input takes, on average over the trainings."""
    asked = {"policy": policy, "sigma_train": sigma}
    said = [run["answers"][0] for run in study()["runs"] if asked.items() <= run["labels"].items()]
    return {name: fmean(one[name] for one in said) for name in ("macs", "layers", "energy_j", "of_combined")}


def pooled(chips: Chips) -> list[float]:
    return [value for seed in chips.values() for value in seed]


def table(sigma: str) -> str:
    """A row for each way to answer: what its chips reach and what an input takes."""
    combined = accuracies(COMBINED, sigma)
    lines = [
        "| answer | mean [95 %] | KPP5 | worst | less combined [95 %] | MACs | of all | layers | energy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for policy in policies(sigma):
        chips, cost = accuracies(policy, sigma), taken(policy, sigma)
        mean = seeds_interval(chips)
        gain = "–" if policy == COMBINED else points(compare_seeds(chips, combined).difference)
        low = kpp(pooled(chips)).estimate
        lines.append(
            f"| {policy} | {percent(mean.estimate)} {mean.bounds(scale=100, digits=1)} | {percent(low)} "
            f"| {percent(min(pooled(chips)))} | {gain} | {short(round(cost['macs']))} "
            f"| {cost['of_combined']:.0%} | {cost['layers']:.1f} | {quantity(cost['energy_j'], 'J')} |"
        )
    return "\n".join(lines)


def bars(sigma: str) -> str:
    """Bars (c) and (d) of the work that asked for this, each with what was measured."""
    lines = ["| bar | measured | shown |", "|---|---|---|"]
    early = [name for name in policies(sigma) if name.startswith("early")]
    combined = accuracies(COMBINED, sigma)
    for policy in early:
        lost = compare_seeds(accuracies(policy, sigma), combined).difference
        share = taken(policy, sigma)["of_combined"]
        shown = share <= HALF and lost.low is not None and lost.low >= -POINT
        words = f"{points(lost)} points at {share:.0%} of the MACs"
        lines.append(f"| (c) {policy}: half the MACs, within a point of combined | {words} | {yes(shown)} |")
    plain = accuracies(RECALIBRATED, sigma)
    for policy in (name for name in policies(sigma) if name.startswith("per_chip")):
        own = accuracies(policy, sigma)
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


def points_of(sigma: str) -> list[Point]:
    """A point for each way to answer, with its interval over trainings and its chips."""
    found = []
    for policy in policies(sigma):
        chips = accuracies(policy, sigma)
        mean = seeds_interval(chips)
        low, high = (mean.estimate if bound is None else bound for bound in (mean.low, mean.high))
        family = policy.split(",")[0]
        family = {"early": "early", COMBINED: COMBINED, "last": "one output alone"}.get(family, family)
        family = "one output alone" if family.startswith("exit") else family
        family = "fitted to each chip" if family in ("per_chip", RECALIBRATED) else family
        macs = taken(policy, sigma)["macs"]
        found.append(Point(policy, family, macs, mean.estimate, low, high, tuple(pooled(chips))))
    return found


def main() -> None:
    drawn = points_of("0.4")
    charts = side_by_side([macs_chart(drawn)], columns=1)
    write_plot(PLOT, charts, mark_of("policies", [vars(point) for point in drawn]))


if __name__ == "__main__":
    main()
