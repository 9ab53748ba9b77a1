"""Networks whose exits stay beside the same backbone, from the complete runs of a study that still runs.

Two chips averaged stand beside them (`two_chips.py` measures these).
"""

from __future__ import annotations

import json
from pathlib import Path

from everychip.report.wording import percent, points
from everychip.statistics.intervals import HEADLINE_SEEDS, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

UNFINISHED = Path(__file__).parents[2] / "results" / "unfinished"
DRAWS, PAIRS = UNFINISHED / "multi-exit-cifar10.parquet", UNFINISHED / "two-chips.json"
EXITS = "vgg8 with exits"
NETWORKS = {"vgg8": "VGG-8 alone", "vgg8 wider": "one channel wider", EXITS: "exits that stay"}

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


def averaged(sigma: float) -> Chips:
    """The accuracy of every pair of chips of the backbone alone, by seed."""
    known = json.loads(PAIRS.read_text(encoding="utf-8")).get(f"{sigma:g}", {}) if PAIRS.exists() else {}
    return {int(seed): values for seed, values in known.items()}


def table(sigma: str) -> str:
    """A row for each network: its mean, its worst chip, and what the exits win over it, paired."""
    exits = accuracies(EXITS, float(sigma))
    lines = [
        "| network | trainings | mean [95 %] | worst chip | exits less it [95 %] |",
        "|---|---:|---:|---:|---:|",
    ]
    rows = {label: accuracies(network, float(sigma)) for network, label in NETWORKS.items()}
    rows["two chips of VGG-8 alone, averaged"] = averaged(float(sigma))
    for label, chips in rows.items():
        if not chips:
            continue
        values = [value for seed in chips.values() for value in seed]
        mean = percent(sum(values) / len(values))
        if len(chips) >= HEADLINE_SEEDS:
            mean += f" {seeds_interval(chips).bounds(scale=100, digits=1)}"
        gain = "–"
        both = exits.keys() & chips.keys()
        if label != NETWORKS[EXITS] and len(both) >= HEADLINE_SEEDS:
            pair = ({seed: one[seed] for seed in both} for one in (exits, chips))
            gain = points(compare_seeds(*pair).difference)
        lines.append(f"| {label} | {len(chips)} | {mean} | {percent(min(values))} | {gain} |")
    return "\n".join(lines)
