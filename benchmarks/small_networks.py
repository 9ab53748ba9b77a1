"""Chips a second of a small network on two cores: as it comes, in two workers, compiled, several in one call.

    python benchmarks/small_networks.py [--rounds 5] [--chips 600] [--json FILE]

LeNet on the embedded digits, 540 test images, RRAM1 at σ 0.2, float32; one worker has two threads, two
have one each. All but two run the test set in one batch of 540, and the process keeps the memory it frees.
The contestants take turns; times are seconds of the clock from the call to its draws, the start of workers
included and the compilation not, which is done once before. The machine must have two idle cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chips", type=int, default=600)
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
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(options.rounds):
        order = list(works)[turn % len(works) :] + list(works)[: turn % len(works)]
        for name in order:
            begun = time.perf_counter()
            works[name](options.chips)
            seconds[name].append(time.perf_counter() - begun)
    base = seconds["as it comes"]
    rows = {
        name: {
            "chips_per_second": options.chips / statistics.median(times),
            "speed_up": statistics.median(b / t for b, t in zip(base, times, strict=True)),
        }
        for name, times in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name}: {row['chips_per_second']:.0f} chips a second, × {row['speed_up']:.2f}")
    print(f"accuracies of the first 20 chips {'are the same' if same else 'differ'}")
    if options.json:
        told = {"torch": torch.__version__, "chips": options.chips, "same_accuracies": same, "rows": rows}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
