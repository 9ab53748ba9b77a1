"""Synthetic measurements with a known law, as a file would hold them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Law = Callable[[float], float]


def zero(g: float) -> float:
    return 0.0


def rows(
    *,
    levels: Sequence[float],
    cell: Law = zero,
    cycle: Law = zero,
    die: Law = zero,
    bias: Law = zero,
    dies: int = 1,
    devices: int = 40,
    cycles: int = 1,
    g_max: float = 25.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """target, measured (µS), die, device, cycle: deviation = bias + die·D + cell·C + cycle·N, all normal."""
    random = np.random.default_rng(seed)
    shift = random.standard_normal(dies)
    found: list[dict[str, Any]] = []
    for g in levels:
        for a in range(dies):
            for b in range(devices):
                own = bias(g) + die(g) * shift[a] + cell(g) * random.standard_normal()
                for c in range(cycles):
                    value = g + own + cycle(g) * random.standard_normal()
                    found.append(
                        {"target": g * g_max, "measured": value * g_max, "die": a, "device": b, "cycle": c}
                    )
    return found


def write(
    path: Path, table: Iterable[dict[str, Any]], columns: Sequence[str] = ("target", "measured")
) -> Path:
    """The rows as a CSV file with these columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, columns, extrasaction="ignore")
        out.writeheader()
        out.writerows(table)
    return path
