"""The table of docs/explanation/buechel-table-1.md: the paper's means beside those of the committed draws."""

from __future__ import annotations

from pathlib import Path

from everychip.report.wording import MINUS, percent
from everychip.study.table import query

RESULTS = Path(__file__).parents[1] / "results"
DRAWS = RESULTS / "buechel-fashion-mnist" / "draws.parquet"
CONTROLS = RESULTS / "buechel-controls" / "draws.parquet"
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


def ours() -> dict[str, dict[float, float]]:
    """The mean accuracy, 0 … 1, over the seeds and chips of each method, by ζ."""
    words = "select method, sigma::double, avg(accuracy) from draws group by all"
    found: dict[str, dict[float, float]] = {}
    for method, sigma, mean in query(DRAWS, words)[1]:
        found.setdefault(method, {})[round(sigma, 3)] = float(mean)
    return found


def differences() -> dict[str, list[float]]:
    """Ours less the paper's, in points."""
    means = ours()
    return {
        method: [100 * means[method][at] - row[n] for n, at in enumerate(MISMATCH)]
        for method, row in PAPER.items()
    }


def table() -> str:
    """One row for each method: the paper's mean, ours, and the difference, at every ζ."""
    lines = ["| method | " + " | ".join(f"ζ = {at:g}" for at in MISMATCH) + " |", "|---|" + "---:|" * 4]
    means, away = ours(), differences()
    for method, row in PAPER.items():
        cells = [
            f"{row[n]:.1f} → {percent(means[method][at])} ({away[method][n]:+.1f})".replace("-", MINUS)
            for n, at in enumerate(MISMATCH)
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def controls() -> str:
    """Each method as in the table and with what the authors' code does otherwise, beside the paper."""
    lines = [
        "| training | how many | " + " | ".join(f"ζ = {at:g}" for at in MISMATCH) + " |",
        "|---|---:|" + "---:|" * 4,
    ]
    known: dict[str, dict[float, float]] = {}
    trained: dict[str, int] = {}
    words = "select variant, sigma::double, avg(accuracy), count(distinct seed) from draws group by all"
    for variant, sigma, mean, seeds in query(CONTROLS, words)[1]:
        known.setdefault(variant, {})[round(sigma, 3)] = float(mean)
        trained[variant] = int(seeds)
    for method, variants in CHANGED.items():
        rows = {f"{method}, as in the table above": (2, ours()[method])}
        rows |= {name: (trained[name], known[name]) for name in variants}
        for name, (seeds, means) in rows.items():
            cells = [
                f"{percent(means[at])} ({100 * means[at] - PAPER[method][n]:+.1f})".replace("-", MINUS)
                for n, at in enumerate(MISMATCH)
            ]
            lines.append(f"| {name} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
