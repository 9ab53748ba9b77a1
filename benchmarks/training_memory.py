"""What a training step takes in memory: every method beside a plain step, chips kept and drawn again.

    python benchmarks/training_memory.py [METHOD …] [--json benchmarks/training_memory.json]

Eight linear layers of 2048 × 2048, batches of 16, Adam: a network whose weights are nearly all of the memory.
Each row is a process of its own, of one thread: its peak over two steps less what stood before the first,
in copies of the weights (weights, gradients and Adam's two averages are four). glibc is asked to give back
what is freed (MALLOC_MMAP_THRESHOLD_=1000000). Named methods are measured anew, the others stay.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

import everychip as ec
from everychip.methods import Method
from everychip.study.compute import Compute
from everychip.study.environment import environment
from everychip.training.config import Training
from everychip.training.step import backward

WIDTH, LAYERS, BATCH, STEPS = 2048, 8, 16, 2
PLAIN = "plain"
OWN: dict[str, dict[str, Any]] = {
    "irs": {"hidden": 64},
    "deep_supervision": {"hidden": 64},
    "adversarial_weight": {"attack_steps": 2},
    "sam, noise": {"kind": "sam", "noise": True},
}
"""What methods are given beside their kind, and rows of a kind under another name."""
METHODS = (
    "vanilla",
    "noise_injection",
    "temperature",
    "irs",
    "deep_supervision",
    "ovf",
    "resilient",
    "correctnet",
    "sam",
    "sam, noise",
    "adversarial_weight",
)
HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), mapping=ec.mapping.Direct())


def network() -> nn.Module:
    """The network of every row."""
    parts = (part for _ in range(LAYERS) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU()))
    return nn.Sequential(*parts)


def steps(name: str, *, redraw: bool) -> float:
    """Peak memory of a training in copies of the weights, in this process."""
    torch.set_num_threads(1)
    tiny = {"hardware": HARDWARE, "epochs": 1, "batch_size": 8, "progress": False}
    x, y = torch.randn(64, 4), torch.arange(64) % 2
    ec.fit(nn.Linear(4, 2), "noise_injection", (x, y), **tiny)  # type: ignore[arg-type]
    model, x, y = network(), torch.randn(BATCH, WIDTH), torch.arange(BATCH)
    weights, before = sum(p.numel() for p in model.parameters()) * 4, _now()
    if name == PLAIN:
        _plain(model, x, y)
    else:
        table = {"kind": name, **OWN.get(name, {})}
        objective = Method.parse(table).bind(model, HARDWARE, seed=0, sample=x[:2], steps=1000)
        optimizer = torch.optim.Adam(objective.parameters(), fused=True)
        objective.train()
        for _ in range(STEPS):
            backward(objective, optimizer, x, y, Training(redraw=redraw))
            optimizer.step()
            objective.after_step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / weights + 1


def _plain(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _now() -> int:
    """The memory that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def apart(name: str, *, redraw: bool) -> float:
    """The same in a process of its own."""
    known = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, "--alone", name, *["--redraw"] * redraw]
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", default=list(METHODS), metavar="METHOD")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--redraw", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(steps(options.alone, redraw=options.redraw))
        return
    for name in options.methods:
        if name not in METHODS:
            parser.error(f"{name}: no such method; known: {', '.join(METHODS)}")
    before = json.loads(options.json.read_text())["rows"] if options.json.exists() else {}
    rows = dict(before)
    for name in options.methods:
        rows[name] = {"kept": apart(name, redraw=False), "redrawn": apart(name, redraw=True)}
        print(name, rows[name], flush=True)
    found = {
        "command": "python benchmarks/training_memory.py",
        "environment": environment(Compute(threads=1)),
        "plain": apart(PLAIN, redraw=False),
        "rows": {name: rows[name] for name in METHODS if name in rows},
    }
    options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
