"""What torch.compile is worth for Monte Carlo: a chip of a network, compiled and not, in turns.

    python benchmarks/compiled.py [--json FILE]

One thread, CPU time of the process, medians of five rounds of eight chips. Chips are programmed, run and
scored by `ec.evaluate`, with the network as it is and with `torch.compile(network)`; a plain pass of the
digital network in the faster memory format stands beside them. The compilation is wall time: other work
on the machine is in it.
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
from torch import nn

import everychip as ec
from everychip.network.probing import runner_for
from everychip.rng import rng_for

IMAGES, CHIPS, ROUNDS = 256, 8, 5
NETWORKS = {
    "LeNet": (ec.models.LeNet(), (1, 32, 32)),
    "VGG-8 of width 16": (ec.models.VGG8(width=16), (3, 32, 32)),
}


def seconds(work: Callable[[], object], of: int) -> float:
    """CPU time of one of `of` parts of the work."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) / of


def measured(network: nn.Module, shape: tuple[int, ...]) -> dict[str, float | bool]:
    """Milliseconds of a plain pass, a chip and a compiled chip, and whether the answers are the same."""
    x = torch.randn(IMAGES, *shape, generator=rng_for(0, "x"))
    y = torch.randint(0, 10, (IMAGES,), generator=rng_for(0, "y"))
    hardware = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    runner, data = runner_for(network, x[:2]), ec.data.Arrays(x, y)
    torch._dynamo.reset()
    compiled: Any = torch.compile(network)
    begun = time.perf_counter()
    ec.evaluate(compiled, hardware, (x, y), chips=1)
    waited = time.perf_counter() - begun
    draws = {
        name: ec.evaluate(one, hardware, (x, y), chips=CHIPS)
        for name, one in (("plain", network), ("compiled", compiled))
    }
    times: dict[str, list[float]] = {"pass": [], "chip": [], "compiled": []}
    for _ in range(ROUNDS):
        times["pass"].append(seconds(lambda: [runner.predict({}, data) for _ in range(CHIPS)], CHIPS))
        times["chip"].append(seconds(lambda: ec.evaluate(network, hardware, (x, y), chips=CHIPS), CHIPS))
        times["compiled"].append(seconds(lambda: ec.evaluate(compiled, hardware, (x, y), chips=CHIPS), CHIPS))
    found: dict[str, float | bool] = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    same = bool(torch.equal(draws["plain"].accuracy, draws["compiled"].accuracy))
    apart = float((draws["plain"].nll - draws["compiled"].nll).abs().max())
    return {**found, "compilation_s": waited, "same_accuracies": same, "largest_difference_of_nll": apart}


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    inductor.force_disable_caches = True  # so that the compilation is what one waits for the first time
    found = {name: measured(model.build(shape, 10), shape) for name, (model, shape) in NETWORKS.items()}
    print(json.dumps(found, indent=1))
    if asked.json:
        facts = {"torch": torch.__version__, "images": IMAGES, "networks": found}
        asked.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
