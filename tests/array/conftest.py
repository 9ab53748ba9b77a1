"""What the tests of the array share: chips of one model with and without it."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

import everychip as ec
from everychip.array import Array


@pytest.fixture
def draw():
    """Normal numbers in float64 from a generator of its own."""
    rng = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)


def hardware(array: Array | None = None, *, sigma: float = 0.1, **fields) -> ec.Hardware:
    device = ec.devices.Gaussian(sigma=sigma) if sigma else ec.devices.Ideal()
    return ec.Hardware(device=device, array=array, **fields)


def outputs(model, x, array: Array | None = None, *, chip: int = 0, **fields):
    """What chip 0 gives, as the model is called by anyone."""
    made = ec.program(model, hardware(array, **fields), seed=0, chip=chip)
    with torch.no_grad():
        return functional_call(model, made, (x,))


@pytest.fixture(name="outputs")
def _outputs():
    return outputs


@pytest.fixture(name="hardware")
def _hardware():
    return hardware
