"""What a chip pays for the accuracy being counted by torchmetrics, beside one comparison and one sum.

    python benchmarks/counted.py [--rounds 5] [--json FILE]

One thread, CPU time of the process. Chips are programmed, run and scored by `ec.evaluate`, by turns with
either count, medians over the rounds; the counts are timed alone, too, since a microsecond is lost in the
scatter of whole chips. What importing torchmetrics costs a process once is measured in fresh ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import everychip as ec
from everychip.data import Examples
from everychip.tasks import metrics
from everychip.tasks.counting import count_right

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
IMPORT = (
    "import torch, everychip as ec, time; ec.evaluate, ec.fit, ec.Verdict; start = time.process_time(); "
    "import torchmetrics.functional.classification; print(time.process_time() - start)"
)
COUNTS: dict[str, Callable[[Tensor, Tensor], int]] = {
    "compared": lambda said, labels: int((said == labels).sum()),
    "torchmetrics": count_right,
}


def networks() -> dict[str, tuple[Any, Examples, int]]:
    """The networks, their test data, and how many chips a round has."""
    digits = ec.data.Digits().load().test
    images = torch.nn.functional.interpolate(digits.x[:200], scale_factor=2)
    return {
        "LeNet": (ec.models.LeNet().build((1, 8, 8), 10, seed=0), digits, 100),
        "VGG-8 of width 16": (
            ec.models.VGG8(width=16).build((1, 16, 16), 10, seed=0),
            Examples(images, digits.y[:200]),
            20,
        ),
    }


def microseconds(count: Callable[[Tensor, Tensor], int], images: int, *, calls: int = 500) -> float:
    """CPU time of one count."""
    said, labels = torch.arange(images) % 10, torch.arange(images) % 7
    start = time.process_time()
    for _ in range(calls):
        count(said, labels)
    return 1e6 * (time.process_time() - start) / calls


def chip(model: Any, data: Examples, chips: int) -> float:
    """CPU milliseconds of one chip."""
    start = time.process_time()
    ec.evaluate(model, HARDWARE, data, chips=chips, seed=0)
    return 1e3 * (time.process_time() - start) / chips


def measure(model: Any, data: Examples, chips: int, *, rounds: int) -> dict[str, float]:
    """Both counts by turns."""
    found: dict[str, list[float]] = {}
    for turn in range(-1, rounds):
        for name in sorted(COUNTS, reverse=bool(turn % 2)):
            vars(metrics)["count_right"] = COUNTS[name]
            row = {f"{name}, ms": chip(model, data, chips)}
            row[f"{name}, µs alone"] = microseconds(COUNTS[name], len(data))
            for key, value in row.items() if turn >= 0 else ():  # the first turn warms up
                found.setdefault(key, []).append(value)
    return {key: round(median(values), 3) for key, values in found.items()}


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = {name: measure(*one, rounds=asked.rounds) for name, one in networks().items()}
    imports = []
    for _ in range(asked.rounds):
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        imports.append(float(done.stdout))
    found = {"networks": rows, "import, s": round(median(imports), 2)}
    print(json.dumps(found, indent=1, ensure_ascii=False))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
