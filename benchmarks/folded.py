"""A chip as it comes beside a folded one, with memory that is given back and with memory that is kept.

    python benchmarks/folded.py [--rounds 5] [--json benchmarks/folded.json]

CPU time of `evaluate` a chip, one thread, 500 random images of 32 × 32 in one batch; four chips each way in
turns, each kind of memory in a process of its own; medians over rounds. Scores of both ways are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import everychip as ec
from everychip.network.running import Precision
from everychip.rng import rng_for
from everychip.study.compute import Compute
from everychip.study.environment import environment

HARDWARE = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
NETWORKS: dict[str, ec.models.Model] = {
    "VGG-8 of width 16": ec.models.VGG8(width=16),
    "ResNet-18 of width 16": ec.models.ResNet18(width=16),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
CHIPS = 4
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def compared(rounds: int) -> list[dict[str, Any]]:
    """A row for each network and precision, in this process."""
    torch.set_num_threads(1)
    return [row(name, precision, rounds) for name in NETWORKS for precision in PRECISIONS]


def row(name: str, precision: Precision, rounds: int) -> dict[str, Any]:
    """Both ways in turns; the first round pays for what is made once, and does not count."""
    data = torch.randn(500, 3, 32, 32, generator=rng_for(0, "x")), torch.arange(500) % 10
    model = NETWORKS[name].build((3, 32, 32), 10, seed=0)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    apart = 0.0
    for number in range(rounds + 1):
        found = {}
        for folded in (number % 2 == 0, number % 2 == 1):
            how: dict[str, Any] = {"first": 1 + number * CHIPS, "precision": precision, "folded": folded}
            started = time.process_time()
            found[folded] = ec.evaluate(model, HARDWARE, data, chips=CHIPS, progress=False, **how)
            seconds[folded].append((time.process_time() - started) / CHIPS)
        apart = max(apart, float((found[True].nll - found[False].nll).abs().amax()))
    chip, short = seconds[False][1:], seconds[True][1:]
    shares = [b / a for a, b in zip(chip, short, strict=True)]
    return {
        "network": name,
        "precision": precision,
        "chip": statistics.median(chip),
        "folded": statistics.median(short),
        "share": statistics.median(shares),
        "share_least": min(shares),
        "share_most": max(shares),
        "loss_apart": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(compared(options.rounds)))
        return
    found: dict[str, Any] = {
        "command": "python benchmarks/folded.py",
        "rounds": options.rounds,
        "environment": environment(Compute(threads=1)),
    }
    for memory, extra in (("given back", {}), ("kept", KEPT)):
        command = [sys.executable, "-W", "ignore", __file__, "--alone", "--rounds", str(options.rounds)]
        known = os.environ | {"OMP_NUM_THREADS": "1"} | extra
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found[memory] = json.loads(done.stdout)
        print(memory, done.stdout, flush=True)
    options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
