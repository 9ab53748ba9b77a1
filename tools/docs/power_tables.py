"""Tables of benchmarks/power/power.json, as `fill_tables.py` asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "benchmarks" / "power" / "power.json"


def _found() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def coverage() -> str:
    """What the interval of two stages covers, on chips of known laws and of the zoo."""
    head = "| chips | mean | sd, points | skewness | covered |\n|---|---:|---:|---:|---:|"
    rows = [
        f"| {row['chips']} | {100 * row['mean']:.1f} % | {100 * row['sd']:.1f} | {row['skewness']:.1f} | "
        f"{100 * row['coverage']:.1f} % |"
        for row in _found()["coverage"]
        if row["coverage"] is not None
    ]
    return "\n".join([head, *rows])


def times() -> str:
    """CPU seconds of a mean of ±0.5 points, in two stages and chip by chip on all images."""
    head = (
        "| network | all images: s a chip | chips, watched | two stages: chips × images | s in all | "
        "times faster | than 1 000 chips |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    rows = [
        f"| {row['network']} | {row['seconds of a chip on all images']:.3g} | {row['chips watched']:.0f} | "
        f"{row['chips']} × {row['images']} of {row['images in all']} | {row['seconds of two stages']:.3g} | "
        f"{row['ratio to the watched protocol']:.1f} | {row['ratio to 1 000 chips']:.1f} |"
        for row in _found()["time"]
    ]
    return "\n".join([head, *rows])


def variates() -> str:
    """What three control variates explain, and what is then left of the cost."""
    names = (
        ("first-order effect: share of the variance between chips", "cost with the first-order effect"),
        ("digital answer: share of the variance between images", "cost with the digital answer"),
        ("pilot's mean of an image: share of the variance between images", "cost with the pilot's mean"),
    )
    head = (
        "| network | first-order effect of the noise | digital network's answer | mean answer of 50 chips |\n"
        "|---|---:|---:|---:|"
    )
    rows = []
    for row in _found()["variates"]:
        cells = [f"{row[share]:.2f}, cost × {row[cost]:.2f}" for share, cost in names]
        rows.append(f"| {row['network']} | {' | '.join(cells)} |")
    return "\n".join([head, *rows])
