"""Chips a second of a small network on two cores: as it comes, in two workers, compiled, several in one call.

    python benchmarks/small_networks.py [--rounds 5] [--chips 600] [--beside CHECKOUT] [--json FILE]

LeNet on the embedded digits, 540 test images, RRAM1 at σ 0.2, float32; one worker has two threads, two
have one each. All but two run the test set in one batch of 540, and the process keeps the memory it frees.
The contestants take turns; times are seconds of the clock from the call to its draws, the start of workers
included and the compilation not, which is done once before. `--beside` names a checkout of another version
(`git worktree add ../before 1f06017`), whose chips as they come take their turns, too, each in a process of
its own, imports not counted. The machine must have two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config as inductor

import everychip as ec
from everychip.freed_memory import keep_freed_memory

CONTESTANTS = {
    "as it comes": (False, 1, 1, 500),
    "two workers": (False, 2, 1, 540),
    "4 in one call": (False, 1, 4, 540),
    "8 in one call, two workers": (False, 2, 8, 540),
    "16 in one call, 135 images in a batch, two workers": (False, 2, 16, 135),
    "compiled": (True, 1, 1, 540),
    "compiled, two workers": (True, 2, 1, 540),
    "compiled, 4 in one call": (True, 1, 4, 540),
    "compiled, 4 in one call, two workers": (True, 2, 4, 540),
}
"""Whether the network is compiled, workers, chips in one call, and images in a batch."""


OTHER = """
import time, torch, everychip as ec
torch.set_num_threads(2)
splits = ec.data.Digits().load()
hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
model = ec.models.LeNet().build(splits.input_shape, splits.classes, seed=0)
ec.evaluate(model, hardware, splits.test, chips=20, seed=0)
begun = time.perf_counter()
ec.evaluate(model, hardware, splits.test, chips=CHIPS, seed=0)
print(time.perf_counter() - begun)
"""
"""What another version does, in words that it knows, too."""


def other_version(checkout: Path) -> tuple[str, Callable[[int], float]]:
    """The commit of a checkout, and the seconds that its chips take as they come."""
    asked = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    name = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    known = {**os.environ, "PYTHONPATH": str(checkout.resolve() / "src")}

    def work(chips: int) -> float:
        command = [sys.executable, "-W", "ignore", "-c", OTHER.replace("CHIPS", str(chips))]
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    return name, work


def seconds_of(work: Callable[[int], ec.Draws], chips: int) -> float:
    """Seconds of the clock."""
    begun = time.perf_counter()
    work(chips)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chips", type=int, default=600)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    inductor.compile_threads = 1  # workers fork this process
    keep_freed_memory()
    splits = ec.data.Digits().load()
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    plain = ec.models.LeNet().build(splits.input_shape, splits.classes, seed=0)
    compiled = ec.models.LeNet().build(splits.input_shape, splits.classes, seed=0)
    compiled.compile()

    def measured(fast: bool, workers: int, at_once: int, batch: int) -> Callable[[int], ec.Draws]:
        model = compiled if fast else plain

        def work(chips: int) -> ec.Draws:
            torch.set_num_threads(2 // workers)
            how: dict[str, Any] = {"workers": workers, "at_once": at_once, "batch_size": batch}
            return ec.evaluate(model, hardware, splits.test, chips=chips, **how)

        return work

    works = {name: measured(*how) for name, how in CONTESTANTS.items()}
    first = {name: work(20).accuracy for name, work in works.items()}
    same = all(torch.equal(one, first["as it comes"]) for one in first.values())
    turns: dict[str, Callable[[int], float]] = {
        name: partial(seconds_of, work) for name, work in works.items()
    }
    beside = ""
    if options.beside:
        commit, other = other_version(options.beside)
        beside = f"as it comes, {commit}"
        turns = {beside: other, **turns}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(options.rounds):
        order = list(turns)[turn % len(turns) :] + list(turns)[: turn % len(turns)]
        for name in order:
            seconds[name].append(turns[name](options.chips))
    bases = {"speed_up": "as it comes", **({"over_beside": beside} if beside else {})}
    rows = {
        name: {
            "chips_per_second": options.chips / statistics.median(times),
            **{
                key: statistics.median(b / t for b, t in zip(seconds[base], times, strict=True))
                for key, base in bases.items()
            },
        }
        for name, times in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name}: {row['chips_per_second']:.0f} chips a second, × {row['speed_up']:.2f}")
    print(f"accuracies of the first 20 chips {'are the same' if same else 'differ'}")
    if options.json:
        known = {"torch": torch.__version__, "chips": options.chips, "same_accuracies": same}
        told = {**known, "beside": beside, "rows": rows}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
