"""No hidden randomness: from training to draws, nothing reads or moves a global generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.methods import Method
from everychip.rng import seeded_global_generator

KINDS = [kind for kind, method in Method.kinds().items() if method.__module__.startswith("everychip.")]


@pytest.fixture(scope="module", autouse=True)
def _digits_loaded() -> None:
    """The first import of scikit-learn draws from Python's generator; that is not ours to mend."""
    ec.data.Digits().load()


def draws_after_training(kind: str) -> Tensor:
    """Train a small network with dropout and batch norm by a method, and measure four chips."""
    with seeded_global_generator(0, "model"):
        layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
        model = nn.Sequential(*layers, nn.Linear(144, 10))
    data = ec.data.Digits().load().train.take(slice(0, 96))
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
    model = ec.fit(model, Method.parse(kind), data, hardware=hw, epochs=2, batch_size=16, seed=3)
    return ec.evaluate(model, hw, data, chips=4, seed=3).nll


@pytest.mark.filterwarnings("ignore:training at chance")  # what it learns does not matter here
@pytest.mark.parametrize("kind", KINDS)
def test_training_and_measuring_neither_read_nor_move_a_global_generator(
    kind: str, global_generators_untouched: None
) -> None:
    first = draws_after_training(kind)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        assert torch.equal(first, draws_after_training(kind))
