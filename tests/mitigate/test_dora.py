"""DoRA: a digital correction of low rank that brings a chip's features back to the clean network's."""

from __future__ import annotations

import copy

import pytest
import torch
from reference.zoo import ARCHITECTURES, architecture
from torch import nn

import everychip as ec
from everychip import Hardware, devices, evaluate, program, rng_for
from everychip.array import Array
from everychip.errors import ConfigError, DataError
from everychip.mitigate import DoRA, Mitigation

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.2))
PATH = ("evaluate", 3)


def network():
    return nn.Sequential(
        nn.Linear(12, 16),
        nn.LayerNorm(16),
        nn.GELU(),
        nn.Linear(16, 16),
        nn.ReLU(inplace=True),
        nn.Linear(16, 4),
    )


def inputs(n=40, width=12):
    return torch.randn(n, width, generator=rng_for(0, "x")), torch.arange(n) % 4


def distance(model, chip, x):
    with torch.no_grad():
        return float((ec.run(model, chip, x) - ec.run(model, {}, x)).norm() / ec.run(model, {}, x).norm())


def test_outputs_come_nearer_to_the_digital_network_also_for_inputs_that_were_not_used():
    model, data = network(), inputs()
    others = torch.randn(200, 12, generator=rng_for(1, "others"))
    chip = program(model, HARDWARE, seed=0, chip=3)
    repaired = DoRA(images=40, rank=4).bind(model, HARDWARE, data)(chip, seed=0, path=PATH)
    assert distance(model, repaired, others) < 0.6 * distance(model, chip, others)


@pytest.mark.parametrize("rank", [1, 3])
def test_what_is_added_has_the_rank_asked_for_once_the_digital_size_is_taken_out(rank):
    """W''/s = W' + B·A with one s for each output: that less W' has the rank of B·A."""
    model, data = nn.Sequential(nn.Linear(12, 10)), inputs()
    chip = program(model, HARDWARE, seed=0, chip=3)
    repaired = DoRA(images=40, rank=rank).bind(model, HARDWARE, data)(chip, seed=0, path=PATH)
    held, found = chip["0.weight"].double(), repaired["0.weight"].double()
    # Sizes s and a matrix of that rank, in turns, until diag(1/s)·W'' = W' + low.
    sizes = torch.ones(10, 1, dtype=torch.float64)
    for _ in range(2000):
        low = _low(found / sizes - held, rank)
        goal = held + low
        sizes = (found * goal).sum(1, keepdim=True) / goal.square().sum(1, keepdim=True)
    left = torch.linalg.svdvals(found / sizes - held)
    assert left[rank:].max() < 0.05 * left[0]


def _low(matrix, rank):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank] @ v[:rank]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_corrected_or_left_as_good(name):
    model, x = architecture(name)
    model.eval()
    chip = program(model, HARDWARE, seed=0, chip=0)
    data = (x, torch.zeros(len(x), dtype=torch.long))
    repaired = DoRA(images=len(x), steps=30).bind(model, HARDWARE, data)(chip, seed=0, path=("evaluate", 0))
    assert repaired.keys() == chip.keys()
    for key, value in chip.items():
        assert (repaired[key].shape, repaired[key].dtype) == (value.shape, value.dtype)
        assert not torch.equal(repaired[key], value), key
    assert distance(model, repaired, x) < distance(model, chip, x)


def test_a_perfect_chip_stays_as_it_is():
    model, data = network(), inputs()
    chip = program(model, HARDWARE.with_sigma(0.0), seed=0, chip=0)
    repaired = DoRA(steps=3).bind(model, HARDWARE, data)(chip, seed=0, path=PATH)
    for name, value in chip.items():
        torch.testing.assert_close(repaired[name], value, rtol=2e-2, atol=2e-3)


def test_model_chip_and_the_global_generator_are_left_alone():
    model, data = network().train(), inputs()
    state, chip = copy.deepcopy(model.state_dict()), program(model, HARDWARE, seed=0, chip=3)
    before, drawn = {name: value.clone() for name, value in chip.items()}, torch.get_rng_state()
    bound = DoRA(steps=2).bind(model, HARDWARE, data)
    first, second = (bound(chip, seed=0, path=PATH) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(chip[name], value) for name, value in before.items())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_frozen_models_and_half_precision_are_repaired():
    model, (x, y) = network().requires_grad_(False).double(), inputs()
    chip = program(model, HARDWARE, seed=0, chip=3)
    repaired = DoRA().bind(model, HARDWARE, (x.double(), y))(chip, seed=0, path=PATH)
    assert distance(model, repaired, x.double()) < distance(model, chip, x.double())


def test_the_draws_say_what_it_costs():
    model, data = network(), inputs()
    draws = evaluate(model, HARDWARE, data, chips=2, mitigation="dora", calibration=data)
    (facts,) = draws.treatment
    # rank 2: 2·(12+16)+16, 2·(16+16)+16, 2·(16+4)+4
    assert facts["digital_parameters"] == 72 + 80 + 44
    assert facts["share"] == pytest.approx(196 / (12 * 16 + 16 * 16 + 16 * 4))


@pytest.mark.parametrize(
    ("hardware", "options", "error", "words"),
    [
        (HARDWARE.replace(array=Array(dac_bits=8)), {}, ConfigError, "mitigation dora: found an array"),
        (HARDWARE, {"images": 41}, DataError, r"found 40 calibration images.*images = 40"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(hardware, options, error, words):
    with pytest.raises(error, match=words) as refused:
        DoRA(**options).bind(network(), hardware, inputs())
    assert "\n" not in str(refused.value)


def test_recipes_name_it():
    assert Mitigation.parse({"kind": "dora", "rank": 4}) == DoRA(rank=4)
