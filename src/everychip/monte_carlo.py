"""Monte Carlo: program many chips, one at a time, and measure each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from everychip.chip import Purpose, disturb, run
from everychip.data import Arrays, as_arrays
from everychip.draws import Draws
from everychip.errors import ConfigError
from everychip.hardware import Hardware
from everychip.metrics import per_chip
from everychip.progress import Event, Listener, listening
from everychip.rng import rng_for

Precision = Literal["float32", "bfloat16"]


def evaluate(
    model: nn.Module,
    hardware: Hardware,
    data: Any,
    *,
    chips: int = 100,
    seed: int = 0,
    batch_size: int = 500,
    precision: Precision = "float32",
    images: int | None = None,
    purpose: Purpose = "evaluate",
    progress: Listener | None = None,
) -> Draws:
    """Program `chips` chips and measure each on the test data; the model is neither changed nor moved.

    data: (x, y), a DataLoader, Arrays or an `everychip.data` component (its test part). images: None measures
    every chip on all test images; k measures each chip on its own random k of them, which is enough for a mean
    (two-stage sampling) but not for a percentile. Chips 0 … chips−1 of a seed are the same whatever is asked
    beside them. At any time one chip and one batch of activations are held.

    >>> import torch, everychip as ec
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> x = torch.randn(64, 4, generator=ec.rng_for(0)); y = model(x).argmax(1)
    >>> draws = evaluate(model, hw, (x, y), chips=8, seed=0)
    >>> len(draws.accuracy), bool((draws.accuracy > 0.5).all())
    (8, True)
    """
    if chips < 1:
        raise ConfigError("evaluate.chips", found=str(chips), expected="at least 1")
    test = as_arrays(data, split="test")
    k = len(test) if images is None else min(images, len(test))
    if k < 1:
        raise ConfigError("evaluate.images", found=str(images), expected="at least 1")
    weights = hardware.crossbar(model)
    rows: list[Mapping[str, float]] = []
    with torch.no_grad(), evaluating(model), listening(progress) as tell:
        for chip in range(chips):
            seen = test if k == len(test) else _random_part(test, k, seed=seed, chip=chip)
            programmed = disturb(weights, hardware, seed=seed, path=(purpose, chip))
            rows.append(measure(model, programmed, seen, batch_size=batch_size, precision=precision))
            tell(Event("chips", chip + 1, chips, {"accuracy": rows[-1]["accuracy"]}))
    columns = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
    return Draws(**columns, chip=torch.arange(chips), seed=seed, images=k, whole_test=k == len(test))


def measure(
    model: nn.Module,
    chip: Mapping[str, Tensor],
    data: Arrays,
    *,
    batch_size: int = 500,
    precision: Precision = "float32",
) -> dict[str, float]:
    """The metrics of one chip (or, with an empty chip, of the digital model) in evaluation mode."""
    device = next(model.parameters()).device
    fast = {name: faster_layout(tensor) for name, tensor in chip.items()}
    outputs = []
    with torch.no_grad(), evaluating(model), autocast(device, precision):
        for x in data.x.split(batch_size):
            outputs.append(run(model, fast, faster_layout(x.to(device))).float().cpu())
    z = torch.cat(outputs)
    return per_chip(z.reshape(-1, z.shape[-1]), data.y.reshape(-1))


def faster_layout(tensor: Tensor) -> Tensor:
    """Images and convolution weights channels-last, which CPUs and tensor cores run faster; the rest as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which products are computed in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _random_part(data: Arrays, k: int, *, seed: int, chip: int) -> Arrays:
    order = torch.randperm(len(data), generator=rng_for(seed, "images", chip))
    return data.take(order[:k])
