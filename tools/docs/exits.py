"""Networks whose exits stay beside the same backbone, from the complete runs of a study that still runs."""

from __future__ import annotations

from pathlib import Path

from everychip.report.wording import percent, points
from everychip.statistics.intervals import HEADLINE_SEEDS, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

DRAWS = Path(__file__).parents[2] / "results" / "unfinished" / "multi-exit-cifar10.parquet"
NETWORKS = {"vgg8": "VGG-8 alone", "vgg8 wider": "one channel wider", "vgg8 with exits": "exits that stay"}

Chips = dict[int, list[float]]


def accuracies(network: str, sigma: float) -> Chips:
    """The accuracy of every chip at the σ of its training, by seed; exits answer together."""
    where = f"model = '{network}' and method = 'ramp + clip'"
    at = f"abs(sigma - {sigma}) < 1e-9 and abs(sigma_train::double - {sigma}) < 1e-9"
    words = f"select seed, accuracy from draws where {where} and {at} order by seed, chip"
    found: Chips = {}
    for seed, accuracy in query(DRAWS, words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def table(sigma: str) -> str:
    """A row for each network: its mean, its worst chip, and what the exits win over it, paired."""
    exits = accuracies("vgg8 with exits", float(sigma))
    lines = [
        "| network | trainings | mean [95 %] | worst chip | exits less it [95 %] |",
        "|---|---:|---:|---:|---:|",
    ]
    for network, label in NETWORKS.items():
        chips = accuracies(network, float(sigma))
        if not chips:
            continue
        values = [value for seed in chips.values() for value in seed]
        mean = percent(sum(values) / len(values))
        if len(chips) >= HEADLINE_SEEDS:
            mean += f" {seeds_interval(chips).bounds(scale=100, digits=1)}"
        gain = "–"
        if network != "vgg8 with exits" and min(len(chips), len(exits)) >= HEADLINE_SEEDS:
            gain = points(compare_seeds(exits, chips).difference)
        lines.append(f"| {label} | {len(chips)} | {mean} | {percent(min(values))} | {gain} |")
    return "\n".join(lines)
