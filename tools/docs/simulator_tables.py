"""The tables of docs/results/other-simulators.md, from what benchmarks/ measured in the other simulators."""

from __future__ import annotations

import json
import re
from pathlib import Path

from everychip.statistics.paired_comparison import compare

MINUS = "\N{MINUS SIGN}"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULT = BENCHMARKS / "other_simulators.json"
PUBLISHED = {
    "dynamic_j": 37.75e-6,
    "leakage_j": 1.19e-6,
    "adc_j": 18.27e-6,
    "area_mm2": 45.55,
    "latency_s": 1.456e-3,
}
"""Of an image of CIFAR-10, RRAM of 100 kΩ and 10 MΩ: DNN+NeuroSim V1.3 Manual, Fig. 24."""


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


def neurosim() -> str:
    """A row for the estimate here, for each run of NeuroSim, and for what its manual prints."""
    told = json.loads((BENCHMARKS / "neurosim.json").read_text(encoding="utf-8"))
    here = told["everychip"]
    own = f"{here['energy_j'] * 1e6:.0f} µJ | {here['adc_j'] / here['energy_j']:.0%}"
    lines = [
        "| | energy an image | its ADCs | area | time an image | energy here over it |",
        "|---|---:|---:|---:|---:|---:|",
        f"| `everychip cost` | {own} | {here['area_mm2']:.0f} mm² | {here['latency_s'] * 1e3:.1f} ms | – |",
    ]
    runs = {f"NeuroSim, run {name}": row for name, row in told["neurosim"].items()}
    for name, row in {**runs, "NeuroSim, printed in its manual (100 kΩ, 10 MΩ)": PUBLISHED}.items():
        energy = row["dynamic_j"] + row["leakage_j"]
        lines.append(
            f"| {name} | {energy * 1e6:.0f} µJ | {row['adc_j'] / energy:.0%} | {row['area_mm2']:.0f} mm² "
            f"| {row['latency_s'] * 1e3:.1f} ms | × {here['energy_j'] / energy:.0f} |"
        )
    return "\n".join(lines)
