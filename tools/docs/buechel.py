"""The table of docs/results/buechel-table-1.md: the paper's means beside those of the committed draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from everychip.report.wording import MINUS, percent
from everychip.storage.table import query

RESULTS = Path(__file__).parents[2] / "results"
SHORT = RESULTS / "buechel-fashion-mnist"
CONTROLS = RESULTS / "buechel-controls"
PUBLISHED = RESULTS / "buechel-published"
MISMATCH = (0.0, 0.3, 0.5, 0.7)
PAPER = {
    "vanilla": (91.30, 82.70, 61.14, 36.93),
    "dropout": (92.42, 84.94, 71.74, 53.91),
    "noise_injection": (92.00, 91.01, 87.82, 78.48),
    "adversarial_weight": (91.88, 91.25, 89.36, 84.19),
}
"""Means in % of Table 1, Fashion-MNIST, of Büchel et al., ICLR 2022, at ζ = 0, 0.3, 0.5, 0.7."""

CHANGED = {
    "vanilla": ("published start", "published start and rate"),
    "dropout": (
        "dropout, published start and rate",
        "dropout, published start, rate and law",
        "dropout, published start, rate and law, ten epochs",
    ),
    "noise_injection": (
        "forward noise, published start and rate",
        "forward noise, published start and rate, ten epochs",
    ),
}
"""The controls of each method."""

BATCH = 100
"""Images a step, in all of these trainings; each is one forward, the adversary's aside."""


@dataclass(frozen=True)
class Row:
    """A row of a study: its mean accuracy by ζ, its trainings, and the steps of each."""

    means: dict[float, float]
    trainings: int
    steps: int


def rows(folder: Path, label: str) -> dict[str, Row]:
    """The rows of a committed study by their label on the axis of that name."""
    means: dict[str, dict[float, float]] = {}
    words = f"select {label}, sigma::double, avg(accuracy) from draws group by all"
    for name, sigma, mean in query(folder / "draws.parquet", words)[1]:
        means.setdefault(name, {})[round(sigma, 3)] = float(mean)
    forwards: dict[str, list[int]] = {}
    for run in json.loads((folder / "study.json").read_text(encoding="utf-8"))["runs"]:
        forwards.setdefault(run["labels"][label], []).append(run["forwards"] // BATCH)
    return {name: Row(means[name], len(steps), max(steps)) for name, steps in forwards.items()}


def steps(row: Row) -> str:
    """How many steps each of its trainings had, in groups of three digits."""
    return f"{row.steps:,}".replace(",", " ")


def away(method: str, row: Row) -> list[str]:
    """A row's means at every ζ, each with its difference to the paper's of that method in points."""
    return [
        f"{percent(row.means[at])} ({100 * row.means[at] - paper:+.1f})".replace("-", MINUS)
        for at, paper in zip(MISMATCH, PAPER[method], strict=True)
    ]


def against(method: str, row: Row) -> list[str]:
    """A row beside the paper's means of that method, at every ζ: paper → ours (difference in points)."""
    return [f"{paper:.1f} → {cell}" for paper, cell in zip(PAPER[method], away(method, row), strict=True)]


def lines(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table of Markdown with a column for every ζ after those named; words left, numbers right."""
    columns = [*heads, *(f"ζ = {at:g}" for at in MISMATCH)]
    rules = "|---|" + "---:|" * (len(columns) - 1)
    return "\n".join([f"| {' | '.join(columns)} |", rules, *(f"| {' | '.join(row)} |" for row in body)])


def table() -> str:
    """Each method in small: the paper's mean, ours, and the difference, at every ζ."""
    found = rows(SHORT, "method")
    return lines(["method"], [[method, *against(method, found[method])] for method in PAPER])


def published() -> str:
    """Each method as the authors' code trains, with the steps that it had."""
    found = rows(PUBLISHED, "method")
    named = {name: next(method for method in PAPER if name.startswith(method)) for name in sorted(found)}
    ordered = sorted(named, key=lambda name: list(PAPER).index(named[name]))
    return lines(
        ["method", "steps"],
        [[name, steps(found[name]), *against(named[name], found[name])] for name in ordered],
    )


def controls() -> str:
    """Each method as in the table and with what the authors' code does otherwise, beside the paper."""
    short, changed = rows(SHORT, "method"), rows(CONTROLS, "variant")
    body = []
    for method, variants in CHANGED.items():
        found = {f"{method}, as in the table above": short[method]}
        found |= {name: changed[name] for name in variants}
        for name, row in found.items():
            body.append([name, str(row.trainings), steps(row), *away(method, row)])
    return lines(["training", "how many", "steps"], body)
