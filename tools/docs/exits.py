"""Networks whose exits stay beside the same backbone, from the complete runs of a study.

Two chips averaged stand beside them (`two_chips.py` measures these).
"""

from __future__ import annotations

import json
from pathlib import Path

from everychip.report.wording import percent, points
from everychip.statistics.intervals import HEADLINE_SEEDS, Difference, seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

UNFINISHED = Path(__file__).parents[2] / "results" / "unfinished"
DRAWS, PAIRS = UNFINISHED / "multi-exit-cifar10.parquet", UNFINISHED / "two-chips.json"
EXITS = "vgg8 with exits"
NETWORKS = {"vgg8": "VGG-8 alone", "vgg8 wider": "one channel wider", EXITS: "exits that stay"}

Chips = dict[int, list[float]]


PUBLISHED = "noise_injection (published)"
POINTS, LEAST = 12.5, 5.0
"""Bar (a): the difference to noise injection as published, and the lower end of its interval."""


def accuracies(network: str, sigma: float, method: str = "ramp + clip") -> Chips:
    """The accuracy of every chip at the σ of its training, by seed; exits answer together."""
    where = f"model = '{network}' and method = '{method}'"
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
        _, less = (0, None) if label == NETWORKS[EXITS] else how_far(chips, exits)
        gain = "–" if less is None else points(less)
        lines.append(f"| {label} | {len(chips)} | {mean} | {percent(min(values))} | {gain} |")
    return "\n".join(lines)


def bars() -> str:
    """Bars (a) and (b) of the work that asked for this, each with what was measured."""
    lines = ["| bar | trainings | measured [95 %] | shown |", "|---|---:|---|---|"]
    exits = accuracies(EXITS, 0.4)
    published, gain = how_far(accuracies("vgg8", 0.4, PUBLISHED), exits)
    words = f"(a) above noise injection as published, σ 0.4, by {POINTS:g} points, interval above {LEAST:g}"
    shown = gain is not None and 100 * gain.estimate >= POINTS and above(gain, LEAST / 100)
    lines.append(row(words, published, gain, shown=shown))
    alone, gain = how_far(accuracies("vgg8", 0.4, PUBLISHED), accuracies("vgg8", 0.4))
    words = "its control: VGG-8 alone with ramp + clip above the same, σ 0.4"
    lines.append(row(words, alone, gain, shown=above(gain, 0.0)))
    for sigma in (0.4, 0.2):
        for network in ("vgg8", "vgg8 wider"):
            seeds, gain = how_far(accuracies(network, sigma), accuracies(EXITS, sigma))
            words = f"(b) above {NETWORKS[network]}, σ {sigma:g}, whole interval above 0"
            lines.append(row(words, seeds, gain, shown=above(gain, 0.0)))
    return "\n".join(lines)


def how_far(other: Chips, one: Chips) -> tuple[int, Difference | None]:
    """The seeds that both have, and how far `one` is above `other` over them, where these are enough."""
    both = one.keys() & other.keys()
    if len(both) < HEADLINE_SEEDS:
        return len(both), None
    pair = ({seed: chips[seed] for seed in both} for chips in (one, other))
    return len(both), compare_seeds(*pair).difference


def above(gain: Difference | None, least: float) -> bool:
    return gain is not None and gain.low is not None and gain.low > least


def row(words: str, seeds: int, gain: Difference | None, *, shown: bool) -> str:
    measured = "too few trainings" if gain is None else f"{points(gain)} points"
    return f"| {words} | {seeds} | {measured} | {'yes' if shown else 'no'} |"
