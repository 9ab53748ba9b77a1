"""A batch that several chips share: each meets its own part, and the loss is the mean over all examples."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from everychip import methods
from everychip.hardware.chip import run

NOISY = {
    kind: one
    for kind, one in methods.Method.kinds().items()
    if one.__module__.startswith("everychip.") and one.noisy
}
WITH = {"sam": {"noise": True}, "samson": {"noise": True}}
"""What some of them need in order to meet the device."""


def test_each_part_meets_a_chip_of_its_own_and_the_loss_is_the_mean(setting, chips_run):
    model = copy.deepcopy(setting.model)
    objective = methods.NoiseInjection(chips=3).bind(setting.model, setting.hardware, seed=1)
    loss = float(objective.train()(setting.x, setting.y).detach())
    chips = list(chips_run)
    assert len(chips) == 3
    assert len({chip["out.weight"].sum().item() for chip in chips}) == 3
    expected, model = 0.0, model.train()
    for chip, part in zip(chips, ((0, 3), (3, 6), (6, 8)), strict=True):
        x, y = setting.x[slice(*part)], setting.y[slice(*part)]
        expected += float(cross_entropy(run(model, chip, x), y, reduction="sum").detach()) / 8
    assert loss == pytest.approx(expected, rel=1e-5)


def test_one_chip_is_what_there_is_without_the_field(setting):
    losses = []
    for method in (methods.NoiseInjection(), methods.NoiseInjection(chips=1)):
        objective = method.bind(copy.deepcopy(setting.model), setting.hardware, seed=1)
        losses.append(float(objective(setting.x, setting.y).detach()))
    assert losses[0] == losses[1]


def test_the_next_step_meets_other_chips_and_the_first_chip_is_that_of_an_unshared_batch(setting, chips_run):
    alone = methods.NoiseInjection().bind(setting.model, setting.hardware, seed=1)
    shared = methods.NoiseInjection(chips=2).bind(setting.model, setting.hardware, seed=1)
    alone(setting.x, setting.y)
    shared(setting.x, setting.y)
    shared.after_step()
    shared(setting.x, setting.y)
    first, *seen = [chip["out.weight"].sum().item() for chip in chips_run]
    assert first == seen[0]
    assert len(set(seen)) == 4


def test_a_part_has_two_examples_at_least(setting, chips_run):
    objective = methods.NoiseInjection(chips=100).bind(setting.model, setting.hardware, seed=1)
    assert torch.isfinite(objective(setting.x, setting.y))
    assert len(chips_run) == len(setting.y) // 2


@pytest.mark.parametrize("name", NOISY)
def test_it_composes_with_every_method(setting, name):
    torch.manual_seed(0)
    bound = NOISY[name](chips=2, **WITH.get(name, {})).bind(
        setting.model, setting.hardware, seed=1, sample=setting.x[:2], steps=100
    )
    plain = NOISY[name](**{"chips": 1, **WITH.get(name, {})}).bind(
        copy.deepcopy(setting.model), setting.hardware, seed=1, sample=setting.x[:2], steps=100
    )
    bound.step = plain.step = 50
    one, other = bound(setting.x, setting.y), plain(setting.x, setting.y)
    one.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in bound.parameters())
    assert float(one.detach()) != float(other.detach()), "the second half has met another chip"
