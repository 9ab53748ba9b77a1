"""What exits add to training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from everychip.cost import exit_cost
from everychip.methods import IRS, OVF, NoiseInjection, Vanilla


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )


def test_the_macs_of_the_heads_are_those_that_pytorch_counts() -> None:
    model, x, method = network(), torch.ones(2, 1, 8, 8), IRS(positions=("1", "3"), hidden=20)
    found = exit_cost(model, method, x)
    exits = method.exits(model, x, seed=0)
    with exits.tap(model) as taps:
        model(x)
    with FlopCounterMode(display=False) as counter:
        exits.logits(taps)
    assert found.macs == counter.get_total_flops() / 2 / len(x)
    assert found.parameters == sum(p.numel() for p in exits.parameters())
    assert found.positions == ("1", "3")
    backbone = 36 * 36 + 16 * 8 * 36 + 1280
    assert found.of_macs == pytest.approx(found.macs / backbone)
    assert found.factor == pytest.approx(1 + found.of_macs)


def test_methods_without_exits_cost_their_forwards() -> None:
    x = torch.ones(2, 1, 8, 8)
    for method in (Vanilla(), NoiseInjection(), OVF()):
        found = exit_cost(network(), method, x)
        assert (found.factor, found.parameters, found.positions) == (method.forwards, 0, ())
    assert exit_cost(network(), OVF(), x).factor > exit_cost(network(), Vanilla(), x).factor
