"""The table of docs/results/other-simulators.md, from what benchmarks/other_simulators.py has measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

from everychip.statistics.paired_comparison import compare

MINUS = "\N{MINUS SIGN}"
RESULT = Path(__file__).parents[2] / "benchmarks" / "other_simulators.json"


def table() -> str:
    """A row for each device: logits, both means, and their difference with its interval."""
    lines = [
        "| device, read after | difference | everychip | aihwkit | logits without noise |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in json.loads(RESULT.read_text(encoding="utf-8"))["devices"].items():
        difference = compare(row["everychip"], row["aihwkit"]).difference
        means = (f"{100 * sum(row[tool]) / len(row[tool]):.1f} %" for tool in ("everychip", "aihwkit"))
        bounds = f"{100 * difference.estimate:+.2f} points {difference.bounds(digits=2)}"
        lines.append(f"| {name} | {bounds} | {' | '.join(means)} | {row['logits']:.0e} |")
    return re.sub(r"-(?=\d+\.)", MINUS, "\n".join(lines))
