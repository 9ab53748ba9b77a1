"""The step of an objective: it goes with its state, and a loop that forgets it is reminded."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.rng import rng_for

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3))
X, Y = torch.randn(16, 8, generator=rng_for(0, "x")), torch.arange(16) % 4
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "fused": lambda p: torch.optim.Adam(p, fused=True),
    "adam": torch.optim.Adam,
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=3),
}


def said(optimizer: str, *, backwards: int = 1, after_step: bool = True) -> list[str]:
    """The warnings of a loop of four steps."""
    objective = ec.methods.NoiseInjection().bind(nn.Linear(8, 4), HW, seed=0)
    chosen = OPTIMIZERS[optimizer](list(objective.parameters()))

    def closure() -> torch.Tensor:
        chosen.zero_grad()
        for _ in range(backwards):
            loss = objective(X, Y)
            loss.backward()
        return loss

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(4):
            if optimizer == "lbfgs":
                chosen.step(closure)
            else:
                closure()
                chosen.step()
            if after_step:
                objective.after_step()
            with torch.no_grad():
                objective(X, Y)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_forgotten_after_step_is_told_once(optimizer: str) -> None:
    [word] = said(optimizer, after_step=False)
    assert "objective.after_step()" in word
    assert "\n" not in word


@pytest.mark.parametrize("backwards", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_loops_that_remember_are_left_alone_also_with_accumulation(optimizer: str, backwards: int) -> None:
    assert said(optimizer, backwards=backwards) == []


def test_an_objective_goes_on_from_its_state_with_the_same_ramp_and_chips() -> None:
    def bound() -> ec.methods.base.Objective:
        layer = nn.Linear(8, 4)
        nn.init.constant_(layer.weight, 0.1)
        return ec.methods.NoiseInjection(ramp=0.5).bind(layer, HW, seed=0, steps=100)

    first = bound()
    for _ in range(30):
        first.after_step()
    resumed = bound()
    resumed.load_state_dict(first.state_dict())
    assert (resumed.step, resumed.strength) == (30, 0.6)
    assert torch.equal(resumed.chip()["weight"], first.chip()["weight"])
