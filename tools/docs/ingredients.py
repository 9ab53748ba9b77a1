"""The tables of docs/results/what-survives.md, from committed results."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

from leaderboards import bounded, difference, rows

from everychip.report.wording import percent, points
from everychip.statistics.paired_comparison import compare_seeds
from everychip.storage.table import query

RESULTS = Path(__file__).parents[2] / "results"
DRAWS = RESULTS / "resilient-vgg8-mnist-ablation" / "draws.parquet"
ROWS = (
    "published",
    "ramp",
    "ramp + clip",
    "ramp + clip + population norm",
    "ramp + clip + population norm + error feedback",
)

STEPS = (
    "noise_injection",
    "noise_injection + ramp",
    "noise_injection + ramp + clip",
    "noise_injection + ramp + clip + chips",
    "noise_injection + ramp + clip + chips + kept scale",
    "resilient",
)
"""Each adds one thing to the one before; every other row of that study changes one thing of resilient."""


def accuracies(variant: str) -> dict[int, list[float]]:
    """The accuracy of every chip at the training σ, by seed."""
    chosen = f"variant = '{variant}' and sigma = 0.4"
    words = f"select seed, accuracy from draws where {chosen} order by seed, chip"
    found: dict[int, list[float]] = {}
    for seed, accuracy in query(DRAWS, words)[1]:
        found.setdefault(int(seed), []).append(accuracy)
    return found


def table() -> str:
    """One row for each ingredient: its mean, its worst chip, and the paired difference to the row above."""
    lines = ["| noise injection with … | mean | worst of 60 | to the row above [95 %] |"]
    lines.append("|---|---:|---:|---:|")
    above: dict[int, list[float]] | None = None
    for name in ROWS:
        seen = accuracies(name)
        chips = [value for values in seen.values() for value in values]
        gain = "–"
        if above is not None:
            gain = points(compare_seeds(seen, above).difference)
        label = "nothing, as published" if name == "published" else name
        lines.append(f"| {label} | {percent(sum(chips) / len(chips))} | {percent(min(chips))} | {gain} |")
        above = seen
    return "\n".join(lines)


def one_by_one(device: str) -> str:
    """A row for each ingredient of resilient on a device: what it adds to the row before, or to resilient."""
    record = json.loads((RESULTS / "resilient-ingredients" / "study.json").read_text(encoding="utf-8"))
    seen = rows("resilient-ingredients", device, 0.4)
    found = {row: seen[row] for row in record["axes"]["method"] if row in seen}
    lines = ["| training | mean [95 %] | worst of 60 | difference [95 %] | to |", "|---|---:|---:|---:|---|"]
    for row, chips in found.items():
        before = STEPS[STEPS.index(row) - 1] if row in STEPS else "resilient"
        known = row != STEPS[0] and before in found
        gain = difference(chips, found[before]) if known else "–"
        worst = percent(min(min(values) for values in chips.values()))
        lines.append(f"| {row} | {bounded(chips)} | {worst} | {gain} | {before if known else ''} |")
    return "\n".join(lines)


def by_layer(*sigmas: str) -> str:
    """An α of each layer's own beside one for the network, on RRAM1, at the σ of training."""
    head = "| σ | one α for the network [95 %] | an α for each layer [95 %] | difference [95 %] |"
    lines = [head, "|---:|---:|---:|---:|"]
    for sigma in sigmas:
        found = rows("resilient-ingredients", "RRAM1", float(sigma))
        one, own = found["resilient"], found["resilient, α by layer"]
        lines.append(f"| {sigma} | {bounded(one)} | {bounded(own)} | {difference(own, one)} |")
    return "\n".join(lines)


def choices() -> str:
    """Validation accuracy of every choice of resilient: the mean of three trainings, and the lowest."""
    record = json.loads((RESULTS / "tuning-resilient" / "study.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, list[float]]] = {}
    for run in record["runs"]:
        labels = run["labels"]
        cell = f"{labels['data']}, σ {labels['sigma_train']}"
        found.setdefault(labels["method"], {}).setdefault(cell, []).append(run["validation_accuracy"])
    cells = list(next(iter(found.values())))
    lines = ["| choice | " + " | ".join(cells) + " |", "|---|" + "---:|" * len(cells)]
    for choice, scores in found.items():
        shown = [
            f"{percent(sum(scores[cell]) / len(scores[cell]))} ({percent(min(scores[cell]))})"
            if cell in scores
            else "–"
            for cell in cells
        ]
        lines.append(f"| {choice} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def starts() -> str:
    """Each training of resilient-control from both starts, and its paired difference to ramp + clip."""
    words = "select variant, method, seed, accuracy from draws where sigma = 0.4 order by seed, chip"
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for variant, method, seed, accuracy in query(RESULTS / "resilient-control" / "draws.parquet", words)[1]:
        found.setdefault((variant, method), {}).setdefault(int(seed), []).append(accuracy)
    record = json.loads((RESULTS / "resilient-control" / "study.json").read_text(encoding="utf-8"))
    variants = record["axes"]["variant"]
    head = [f"{variant} [95 %] | to ramp + clip [95 %]" for variant in variants]
    lines = ["| training | " + " | ".join(head) + " |", "|---|" + "---:|" * 2 * len(variants)]
    for method in record["axes"]["method"]:
        cells = []
        for variant in variants:
            seen, control = found.get((variant, method)), found[variant, "ramp + clip"]
            if seen is None:
                cells += ["–", "–"]
                continue
            cells += [bounded(seen), "–" if method == "ramp + clip" else difference(seen, control)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def kept_scale() -> str:
    """Whose scale is given back, in networks without a norm: means on chips, and to ramp + clip."""
    words = "select model, method, seed, accuracy from draws where sigma = 0.4 order by seed, chip"
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for model, method, seed, accuracy in query(RESULTS / "kept-scale" / "draws.parquet", words)[1]:
        found.setdefault(model, {}).setdefault(method, {}).setdefault(int(seed), []).append(accuracy)
    lines = ["| network | training | mean [95 %] | to ramp + clip [95 %] |", "|---|---|---:|---:|"]
    record = json.loads((RESULTS / "kept-scale" / "study.json").read_text(encoding="utf-8"))
    for model, method in product(record["axes"]["model"], record["axes"]["method"]):
        seen, control = found[model][method], found[model]["ramp + clip"]
        gain = "–" if method == "ramp + clip" else difference(seen, control)
        lines.append(f"| {model} | {method} | {bounded(seen)} | {gain} |")
    return "\n".join(lines)
