"""What it is worth that a process keeps the memory it frees: a Monte Carlo chip with and without.

    python benchmarks/freed_memory.py [--rounds 5] [--json FILE]

Processes of one thread take turns, since the allocator's limits hold for a process and for good. In each,
chips of a network are programmed, run and scored by `ec.evaluate` on 1000 images in batches of 500; CPU time
of the process per chip, its page faults per chip, and its peak memory, as medians over the processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

CASES = (("VGG-8 of width 16", "float32"), ("VGG-8 of width 16", "bfloat16"), ("LeNet", "float32"))
IMAGES, CHIPS = 1000, 4
KEEP, LEAVE = "keep", "leave"


def measure(how: str) -> list[dict[str, float]]:
    """The cases in this process, in order."""
    import torch

    import everychip as ec
    from everychip.freed_memory import keep_freed_memory
    from everychip.rng import rng_for

    torch.set_num_threads(1)
    if how == KEEP and not keep_freed_memory():
        raise SystemExit("this C library has no such limits, or the environment has its own")
    models = {"VGG-8 of width 16": ec.models.VGG8(width=16), "LeNet": ec.models.LeNet()}
    hardware = ec.Hardware(device=ec.devices.preset("RRAM1", sigma=0.2))
    rng = rng_for(0, "benchmark")
    data = torch.randn(IMAGES, 3, 32, 32, generator=rng), torch.randint(10, (IMAGES,), generator=rng)
    found = []
    for name, precision in CASES:
        model = models[name].build((3, 32, 32), 10, seed=0)
        ec.evaluate(model, hardware, data, chips=1, precision=precision)  # type: ignore[arg-type]
        begun, faults = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        ec.evaluate(model, hardware, data, chips=CHIPS, precision=precision)  # type: ignore[arg-type]
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found.append(
            {
                "ms": 1e3 * (time.process_time() - begun) / CHIPS,
                "faults": (usage.ru_minflt - faults) / CHIPS,
                "peak_mib": usage.ru_maxrss / 1024,
            }
        )
    return found


def asked(how: str) -> list[dict[str, float]]:
    """The same in a process of its own, without limits of the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, __file__, "--measure", how]
    out = subprocess.run(command, env=clean, check=True, capture_output=True, text=True).stdout
    return list(json.loads(out.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", choices=(KEEP, LEAVE), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    rounds = [{how: asked(how) for how in (LEAVE, KEEP)} for _ in range(options.rounds)]
    rows: list[dict[str, Any]] = []
    for index, (network, precision) in enumerate(CASES):
        row: dict[str, Any] = {"network": network, "precision": precision}
        for how in (LEAVE, KEEP):
            for what in ("ms", "faults", "peak_mib"):
                row[f"{what}_{how}"] = median(one[how][index][what] for one in rounds)
        row["ratio"] = median(one[KEEP][index]["ms"] / one[LEAVE][index]["ms"] for one in rounds)
        rows.append(row)
        print(
            f"{network}, {precision}: {row['ms_leave']:.0f} → {row['ms_keep']:.0f} ms, × {row['ratio']:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
