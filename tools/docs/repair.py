"""The table of repaired chips in docs/how-to/after-programming.md, from results/repair-without-labels."""

from __future__ import annotations

import json
from pathlib import Path

from everychip.report.wording import percent, points
from everychip.statistics.intervals import seeds_interval
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

RESULTS = Path(__file__).parents[2] / "results" / "repair-without-labels"
PLAIN = "as programmed"

Chips = dict[int, list[float]]


def accuracies(model: str, variant: str, sigma: float) -> Chips:
    """The accuracy of every chip, by seed."""
    where = f"model = '{model}' and variant = '{variant}' and abs(sigma - {sigma}) < 1e-9"
    words = f"select seed, accuracy from draws where {where} order by seed, chip"
    found: Chips = {}
    for seed, accuracy in query(RESULTS / "draws.parquet", words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def digital_parameters(model: str, variant: str) -> str:
    """What a repair holds beside the crossbar, and its share of the weights there; a dash where nothing."""
    record = json.loads((RESULTS / "study.json").read_text(encoding="utf-8"))
    for run in record["runs"]:
        if (run["labels"]["model"], run["labels"]["variant"]) == (model, variant):
            for fact in run.get("treatment") or ():
                if "digital_parameters" in fact:
                    return f"{fact['digital_parameters']:,} ({fact['share']:.1%})"
    return "–"


def table(sigma: str) -> str:
    """A row for each repair: its mean over seeds, the worst chip, what it wins, what it holds digitally."""
    axes = json.loads((RESULTS / "study.json").read_text(encoding="utf-8"))["axes"]
    lines = [
        "| network | repair | mean [95 %] | worst chip | to the chip as programmed | digital parameters |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for model in axes["model"]:
        plain = accuracies(model, PLAIN, float(sigma))
        for variant in axes["variant"]:
            chips = accuracies(model, variant, float(sigma))
            if not chips:
                continue
            mean = seeds_interval(chips)
            gain = "–" if variant == PLAIN else points(compare_seeds(chips, plain).difference)
            worst = percent(min(min(values) for values in chips.values()))
            shown = f"{percent(mean.estimate)} {mean.bounds(scale=100, digits=1)}"
            held = digital_parameters(model, variant)
            lines.append(f"| {model} | {variant} | {shown} | {worst} | {gain} | {held} |")
    return "\n".join(lines)
