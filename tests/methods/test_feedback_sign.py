"""The sign of feedback from trained exits cannot matter: an exit with its last layer negated undoes it."""

from __future__ import annotations

import torch
from torch import nn

import everychip as ec
from everychip import Hardware, devices
from everychip.methods import IRS, Objective
from everychip.rng import seeded_global_generator


def trained(beta: float, *, negate: bool, steps: int = 6) -> tuple[dict[str, torch.Tensor], list[float]]:
    """A small network after some steps of IRS on a noisy backbone with noise-free exits."""
    with seeded_global_generator(0, "sign"):
        model = ec.models.LeNet().build((1, 8, 8), 10, seed=0).double()
        x, y = torch.randn(64, 1, 8, 8, dtype=torch.float64), torch.randint(10, (64,))
    method = IRS(beta=beta, hidden=16, exit_device=devices.Gaussian(sigma=0.0))
    hardware = Hardware(device=devices.Gaussian(sigma=0.1))
    objective = method.bind(model, hardware, seed=0, sample=x[:2])
    objective.double()
    if negate:
        _negate_last_layers(objective)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
        losses.append(float(loss.detach()))
    return {name: value.detach().clone() for name, value in model.named_parameters()}, losses


def _negate_last_layers(objective: Objective) -> None:
    assert objective.exits is not None
    lasts = [module for module in objective.exits.modules() if isinstance(module, nn.Linear)][1::2]
    assert len(lasts) == 3 and all(module.out_features == 10 for module in lasts)
    for module in lasts:
        module.weight.data.neg_()
        module.bias.data.neg_()


def test_negative_and_positive_feedback_from_exits_train_the_same_network() -> None:
    negative, falling = trained(3.0, negate=False)
    positive, same = trained(-3.0, negate=True)
    assert falling[-1] < falling[0]
    torch.testing.assert_close(falling, same)
    for name, weight in negative.items():
        torch.testing.assert_close(weight, positive[name])


def test_the_strength_of_the_feedback_does_matter() -> None:
    strong, _ = trained(3.0, negate=False)
    weak, _ = trained(0.1, negate=False)
    assert any(not torch.allclose(strong[name], weak[name]) for name in strong)


def test_without_the_negated_layer_the_sign_changes_the_start() -> None:
    negative, _ = trained(3.0, negate=False)
    positive, _ = trained(-3.0, negate=False)
    assert any(not torch.allclose(negative[name], positive[name]) for name in negative)
