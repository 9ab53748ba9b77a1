"""This package: what its own training loop and its evaluation do for one batch, and for one chip."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

import torch
from workloads import Made, Work, Workload, compiled, serve

import everychip as ec
from everychip.array import Array
from everychip.data import Examples
from everychip.evaluation.bench import Asked, Programmed
from everychip.evaluation.folding import shortened
from everychip.evaluation.untreated import Untreated
from everychip.hardware.calibration import calibrated
from everychip.hardware.placement import Placed
from everychip.methods import Method, Objective
from everychip.network.modes import evaluating
from everychip.network.running import Precision, Runner, autocast

HARDWARE = ec.Hardware(
    device=ec.devices.preset("RRAM1", sigma=0.2), mapping=ec.mapping.BitSliced(weight_bits=8, cell_bits=2)
)
ARRAY = Array(rows=256, columns=256, dac_bits=8, adc_bits=8)
SLICED = ec.mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True)


def works(load: Workload) -> dict[str, Made]:
    """Steps of several methods, chips at the level of weights and of arrays, programming alone."""
    injection, array = ec.methods.NoiseInjection(), HARDWARE.replace(array=ARRAY)
    positions = "paper" if load.name.startswith(("vgg", "resnet")) else "auto"
    return {
        "step": lambda: trained(load, ec.methods.Vanilla()),
        "step: noise injection": lambda: trained(load, injection),
        "step: noise injection, bfloat16": lambda: trained(load, injection, "bfloat16"),
        "step: IRS": lambda: trained(load, ec.methods.IRS(positions=positions, hidden=128)),
        "step: OVF": lambda: trained(load, ec.methods.OVF()),
        "step: OVF, bfloat16": lambda: trained(load, ec.methods.OVF(), "bfloat16"),
        "step: resilient": lambda: trained(load, ec.methods.Resilient()),
        "step: multi-exit": lambda: multi_exit(load),
        "chip": lambda: chip(load, HARDWARE),
        "chip, bfloat16": lambda: chip(load, HARDWARE, "bfloat16"),
        **(_folded(load) if positions == "paper" else {}),
        "chip, compiled": lambda: chip(load, HARDWARE, fast=True),
        "chip, compiled, bfloat16": lambda: chip(load, HARDWARE, "bfloat16", fast=True),
        "array chip": lambda: chip(load, array),
        "array chip, 4 slices": lambda: chip(load, array.replace(mapping=SLICED)),
        "programming": lambda: programmed(load),
    }


def _folded(load: Workload) -> dict[str, Made]:
    """Chips of a network with batch norm, folded."""
    return {
        "chip, folded": lambda: chip(load, HARDWARE, folded=True),
        "chip, folded, bfloat16": lambda: chip(load, HARDWARE, "bfloat16", folded=True),
    }


def programmed(load: Workload) -> Work:
    """All weights of one chip after another."""
    placed, numbers = Placed.of(load.network(), HARDWARE), count()
    return lambda: placed.program(seed=0, path=("evaluate", next(numbers)))


def trained(load: Workload, method: Method, precision: Precision = "float32") -> Work:
    """A step of the training loop: a fresh chip, the method's loss, the optimizer, the constraint."""
    model = load.network()
    x, y = load.one_batch()
    objective = method.bind(model, HARDWARE, seed=0, sample=x[:2], steps=1000)
    return _step(objective, x, y, precision)


def multi_exit(load: Workload) -> Work:
    """Noise injection on the network with exits that stay."""
    x, y = load.one_batch()
    network = load.formatted(ec.MultiExit(load.network(), x[:2]))
    objective = ec.methods.NoiseInjection().bind(network, HARDWARE, seed=0, sample=x[:2], steps=1000)
    return _step(objective, x, y, "float32")


def _step(objective: Objective, x: torch.Tensor, y: torch.Tensor, precision: Precision) -> Work:
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)
    objective.train()

    def work() -> None:
        with autocast(torch.device("cpu"), precision):
            loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()

    return work


def chip(
    load: Workload,
    hardware: ec.Hardware,
    precision: Precision = "float32",
    *,
    fast: bool = False,
    folded: bool = False,
) -> Work:
    """One chip of an evaluation: programmed, run over the test images, scored."""
    model, data = load.network(), Examples(*load.test())
    if fast:
        model = compiled(model)
    bench = Asked.of().bench(model, data, precision=precision)
    placed = _ranged(Placed.of(model, hardware), bench.runner, data)
    programmed: Programmed = Untreated(placed, seed=0, purpose="evaluate")
    if folded:
        bench, programmed = shortened(bench, programmed, seed=0)
    numbers = count()

    def work() -> None:
        number = next(numbers)
        with torch.no_grad(), evaluating(model):
            seen: dict[str, Any] = {"seed": 0, "path": ("evaluate", number)}
            bench.measure(partial(programmed, number), bench.data, **seen)

    return work


def _ranged(placed: Placed, runner: Runner, data: Examples) -> Placed:
    return calibrated(placed, runner, data, seed=0) if placed.hardware.arrays else placed


if __name__ == "__main__":
    serve(works)
