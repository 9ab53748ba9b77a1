"""Calibration: the ranges of an array's converters, measured on training data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from everychip.array import RangeObserver, TiledWeight, tiled
from everychip.config.arguments import a, index, takes, whole
from everychip.data import as_calibration
from everychip.data.inputs import taken
from everychip.errors import ConfigError
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.network.modes import evaluating
from everychip.network.running import Runner
from everychip.rng import rng_for, seeded_global_generator


@takes(
    model=MODEL,
    hardware=HARDWARE,
    images=whole(least=1),
    seed=index,
    layout=a(torch.memory_format, "a torch.memory_format"),
)
def calibrate(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    images: int = 500,
    seed: int = 0,
    layout: torch.memory_format = torch.contiguous_format,
) -> Hardware:
    """The same hardware with `array.ranges`: what its converters meet when training images are run.

    DAC: max|x| of a layer's inputs, or what training has learned (`array.dac_ranges`); ADC: max|sum| of each
    tile, or the array's percentile of it. The cells hold their targets, so that all chips of the model share
    the ranges; a matrix that is read several times in a pass has the largest of its ranges.

    Args:
        model: the network, any `nn.Module`; it is left as it is.
        hardware: device, mapping and array that it is programmed into.
        data: training data, in any form that `evaluate` takes.
        images: how many random ones of it are run, at once.
        seed: of all draws, a whole number.
        layout: the memory format of the images.

    Returns:
        The same hardware, with ranges.

    >>> import torch, everychip as ec; from everychip.array import Array
    >>> model, x = torch.nn.Linear(4, 2), torch.tensor([[1.0, -3.0, 2.0, 0.5]] * 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1), array=Array(dac_bits=8))
    >>> calibrate(model, hw, (x, torch.zeros(2, dtype=torch.long))).array.ranges["weight"].dac
    3.0
    """
    placed, runner = Placed.of(model, hardware), Runner(model, layout)
    return calibrated(placed, runner, data, images=images, seed=seed).hardware


def ranged(placed: Placed, runner: Runner, calibration: Any, *, seed: int) -> Placed:
    """The placed model with ranges for its converters, where there is data for them and none are set."""
    arrays = placed.hardware.arrays
    if all(array.ranges is not None for array in arrays) or calibration is None:
        return placed
    return calibrated(placed, runner, calibration, seed=seed)


def calibrated(placed: Placed, runner: Runner, data: Any, *, images: int = 500, seed: int = 0) -> Placed:
    """A placed model with the ranges of its array's converters; all but the first two as for `calibrate`."""
    if not placed.hardware.arrays:
        raise ConfigError(
            "hardware.array", found="no array", expected="an array, whose converters have ranges to measure"
        )
    examples = as_calibration(data)
    order = torch.randperm(len(examples), generator=rng_for(seed, "calibration"))
    x = taken(examples.x, order[:images])
    held, observers = watched(placed, seed=seed)
    draws = seeded_global_generator(seed, "calibration", "forward")
    with torch.no_grad(), evaluating(runner.model), runner.autocast(), draws:
        runner.outputs(held, runner.placed(x))
    ranges = {name: one.ranges() for name, one in sorted(observers.items())}
    return placed.with_arrays(lambda array: array.replace(ranges=ranges))


def watched(placed: Placed, *, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, RangeObserver]]:
    """A chip without noise, and observers of its converters.

    Args:
        placed: the model on its hardware.
        seed: of the draws, which a strength of 0 leaves nothing of.

    Returns:
        Programmed weights by name, and the observers, by the same names once the chip is run.
    """
    observers: dict[str, RangeObserver] = {}
    exact = placed.with_arrays(lambda array: array.replace(ranges=None, read_noise=0.0, adc_noise=0.0))
    held = exact.program(seed=seed, path=("calibration",), strength=0.0)
    return {name: _watched(weight, observers) for name, weight in held.items()}, observers


def _watched(weight: Tensor, observers: dict[str, RangeObserver]) -> Tensor:
    if not isinstance(weight, TiledWeight):  # of a layer without an array
        return weight
    return tiled(weight.as_subclass(Tensor), replace(weight.cells, observers=observers))
