"""Where the time of a training step and of a Monte Carlo chip goes, as shares of CPU time in one thread.

    python benchmarks/where_time_goes.py [--json FILE]

CPU time of the process, so a loaded machine changes little; a part is what cProfile counts in it and below.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.func import functional_call, vmap

import everychip as ec
from everychip.data import Examples
from everychip.hardware.placement import Placed

HARDWARE = ec.Hardware(
    device=ec.devices.Gaussian(sigma=0.2), mapping=ec.mapping.BitSliced(weight_bits=8, cell_bits=2)
)
PARTS = {
    "forward": ("outputs",),
    "programming": ("programmed",),
    "scores": ("answers_of", "summary"),
    "backward": ("backward",),
    "optimizer": ("step",),
}
"""The functions whose time, with all that they call, is a part."""


def networks() -> dict[str, tuple[nn.Module, Examples]]:
    """The networks that are measured, with their test data."""
    digits = ec.data.Digits().load().test
    x = torch.randn(200, 1, 16, 16, generator=ec.rng_for(0))
    larger = Examples(x, torch.arange(200) % 10)
    return {
        "LeNet, digits": (ec.models.LeNet().build((1, 8, 8), 10, seed=0), digits),
        "MLP, digits": (ec.models.MLP().build((1, 8, 8), 10, seed=0), digits),
        "VGG-8/16, 16 × 16": (ec.models.VGG8(width=16).build((1, 16, 16), 10, seed=0), larger),
    }


def shares(work: Callable[[], object]) -> dict[str, float]:
    """The share of a piece of work that each part takes, in percent; the rest is what stands around them."""
    work()
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    stats = pstats.Stats(profile)
    rows = {name: value for (_, _, name), value in stats.stats.items()}  # type: ignore[attr-defined]
    total = stats.total_tt  # type: ignore[attr-defined]
    found = {part: sum(rows[n][3] for n in names if n in rows) / total for part, names in PARTS.items()}
    found["around"] = 1 - sum(found.values())
    return {part: round(100 * share, 1) for part, share in found.items() if abs(share) > 0.001}


def milliseconds(work: Callable[[], object], of: int) -> float:
    """Median CPU milliseconds of one piece of `of`, over five rounds."""
    work()
    rounds = []
    for _ in range(5):
        started = time.process_time()
        work()
        rounds.append(1e3 * (time.process_time() - started) / of)
    return round(median(rounds), 3)


def chips(model: nn.Module, data: Examples, count: int = 16) -> dict[str, object]:
    """A Monte Carlo chip: CPU time beside that of a plain pass, its parts, and several chips in one call."""
    placed = Placed.of(model, HARDWARE)

    def evaluated() -> object:
        return ec.evaluate(model, HARDWARE, data, chips=count, seed=0, progress=False)

    def plain() -> None:
        with torch.no_grad():
            for _ in range(count):
                model(data.x)

    def together() -> None:
        programmed = [placed.program(seed=0, path=("evaluate", n)) for n in range(count)]
        stacked = {name: torch.stack([chip[name] for chip in programmed]) for name in programmed[0]}
        with torch.no_grad():
            vmap(lambda chip: functional_call(model, chip, data.x))(stacked)

    model.eval()
    floor = milliseconds(plain, count)
    found = milliseconds(evaluated, count)
    return {
        "plain pass, ms": floor,
        "chip, ms": found,
        "chip / plain": round(found / floor, 2),
        "programmed and run by vmap, ms": milliseconds(together, count),
        "parts of a chip, %": shares(evaluated),
    }


def steps(model: nn.Module, data: Examples, count: int = 10) -> dict[str, object]:
    """A step of noise injection and its parts."""
    objective = ec.methods.NoiseInjection().bind(model, HARDWARE, seed=0)
    optimizer = torch.optim.Adam(model.parameters())
    x, y = data.x[:128], data.y[:128]

    def trained() -> None:
        for _ in range(count):
            loss = objective(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            objective.after_step()

    model.train()
    return {"step, ms": milliseconds(trained, count), "parts of a step, %": shares(trained)}


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: {**chips(model, data), **steps(model, data)} for name, (model, data) in networks().items()}
    for name, rows in found.items():
        print(name)
        for what, value in rows.items():
            print(f"  {what}: {value}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
