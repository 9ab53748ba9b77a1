"""Selective write-verify: which weights, what they then hold, and what it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference.statistics import assert_moments
from torch import nn

import everychip as ec
from everychip import Hardware, devices, evaluate, program, rng_for
from everychip.errors import ConfigError, DataError, ModelError
from everychip.mitigate import Mitigation, SelectiveWriteVerify
from everychip.mitigate.fisher import empirical_fisher
from everychip.mitigate.swim import curvature

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))
PATH = ("evaluate", 3)


def network(seed=0):
    return ec.models.MLP(hidden=(24, 16)).build((10,), 4, seed=seed)


def task(n=300, seed=0):
    x = torch.randn(n, 10, generator=rng_for(seed, "task"))
    return x, (x @ torch.randn(10, 4, generator=rng_for(seed, "teacher"))).argmax(1)


def flat(tensors):
    return np.concatenate([value.detach().numpy().ravel() for value in tensors.values()])


# --- which weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.0, 0.013, 0.1, 0.5, 1.0])
def test_one_threshold_for_the_whole_network_keeps_exactly_the_share(fraction):
    model = network()
    weights = HARDWARE.crossbar(model)
    selection = SelectiveWriteVerify(fraction=fraction, score="magnitude").select(model, HARDWARE)
    verified, size = flat(selection.verified), np.abs(flat(weights))
    count = round(fraction * len(size))
    assert verified.sum() == count
    assert selection.share == count / len(size)
    if 0 < count < len(size):
        assert size[verified].min() >= np.sort(size)[-count] > size[~verified].max()


def test_equal_scores_go_to_the_larger_weight():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].bias[:3] = -1e6  # three units that never fire: the loss depends on none of their weights
    x, y = torch.randn(50, 4, generator=rng_for(0)), torch.arange(50) % 3
    verify = SelectiveWriteVerify(fraction=0.8, images=50)
    scores = verify.scores(model, HARDWARE, (x, y))
    verified = verify.select(model, HARDWARE, (x, y)).verified
    zero, chosen = flat(scores) == 0, flat(verified)
    size = np.abs(flat(HARDWARE.crossbar(model)))
    assert 0 < chosen[zero].sum() < zero.sum() and chosen[~zero].all()
    assert size[zero & chosen].min() >= size[zero & ~chosen].max()


@pytest.mark.parametrize("score", ["swim", "fisher"])
def test_the_scores_are_summed_over_the_calibration_images(score):
    model, (x, y) = network(), task()
    found = SelectiveWriteVerify(fraction=0.1, score=score, images=230).scores(
        model, HARDWARE, (x, y), seed=4
    )
    used = torch.randperm(300, generator=rng_for(4, "calibration"))[:230]
    if score == "swim":
        expected = curvature(model, x[used])
    else:
        expected = empirical_fisher(model, HARDWARE, ec.data.as_arrays((x[used], y[used])))
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def residual():
    model = ec.models.ResNet18(width=2).build((3, 8, 8), 4, seed=0)
    return model, (torch.randn(20, 3, 8, 8, generator=rng_for(0)), torch.arange(20) % 4)


@pytest.mark.parametrize(
    ("model", "data", "score"),
    [(network(), task(), "swim"), (*residual(), "fisher")],
    ids=["chain", "resnet18"],
)
def test_left_to_itself_the_score_is_swims_of_a_chain_and_fishers_of_any_other(model, data, score):
    auto = SelectiveWriteVerify(fraction=0.2, images=20)
    assert auto.score == "auto"
    named = auto.replace(score=score)
    for name, value in named.scores(model, HARDWARE, data).items():
        assert torch.equal(value, auto.scores(model, HARDWARE, data)[name])
    chosen = auto.select(model, HARDWARE, data)
    assert chosen.score == named.select(model, HARDWARE, data).score == score
    chip = program(model, HARDWARE, seed=0, chip=3)
    one, two = (v.bind(model, HARDWARE, data)(chip, seed=0, path=PATH) for v in (auto, named))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("score", ["swim", "magnitude"])
def test_variance_weighting_multiplies_by_the_levels_own_variance(score):
    hardware = Hardware(device=devices.preset("FeFET6", sigma=0.2))
    model, data = network(), task()
    plain = SelectiveWriteVerify(fraction=0.1, score=score, images=300)
    weighted = plain.replace(weighted="variance").scores(model, hardware, data)
    ratios = set()
    for name, value in plain.scores(model, hardware, data).items():
        weight = model.get_parameter(name).detach()
        draws = [program(model, hardware, seed=0, chip=chip)[name] - weight for chip in range(250)]
        variance = torch.stack(draws).square().mean(dim=0)
        known = value > 0
        ratio = (weighted[name][known] / value[known]) / variance[known]
        assert ((ratio > 0.67) & (ratio < 1.6)).all()
        ratios |= {round(float(v), 6) for v in (weighted[name] / value)[known]}
    assert len(ratios) >= 6  # two kinds of levels in each of three layers


def test_random_scores_depend_on_the_seed_and_the_layers_name_only():
    verify = SelectiveWriteVerify(fraction=0.1, score="random")
    one, same = verify.scores(network(0), HARDWARE, seed=1), verify.scores(network(7), HARDWARE, seed=1)
    other = verify.scores(network(0), HARDWARE, seed=2)
    for name, value in one.items():
        assert torch.equal(value, same[name]) and not torch.equal(value, other[name])


def test_layers_that_stay_digital_are_neither_ranked_nor_counted():
    hardware = HARDWARE.replace(digital=("1",))
    model = network()
    selection = SelectiveWriteVerify(fraction=0.1, images=300).select(model, hardware, task())
    held = HARDWARE.crossbar(model)
    assert set(selection.verified) == set(hardware.crossbar(model)) < set(held)
    total = sum(mask.numel() for mask in selection.verified.values())
    assert selection.share == round(0.1 * total) / total


# --- what they hold ---------------------------------------------------------------------------------------


def treated(verify, model, hardware, data=None, chip=3):
    held = program(model, hardware, seed=0, chip=chip)
    kept = {name: value.clone() for name, value in held.items()}
    result = verify.bind(model, hardware, data)(held, seed=0, path=("evaluate", chip))
    assert all(torch.equal(held[name], kept[name]) for name in kept)
    return result


def test_verified_weights_have_the_smaller_deviation_and_the_others_their_own():
    verify = SelectiveWriteVerify(fraction=0.3, score="magnitude", sigma_verified=0.03)
    model = nn.Linear(64, 64, bias=False)
    verified = verify.select(model, HARDWARE).verified["weight"]
    scale = 0.7776 * float(model.weight.detach().abs().max())
    deviations = torch.stack(
        [treated(verify, model, HARDWARE, chip=n)["weight"] - model.weight.detach() for n in range(30)]
    )
    assert_moments(deviations[:, verified], mean=0.0, std=0.03 * scale)
    assert_moments(deviations[:, ~verified], mean=0.0, std=0.1 * scale)
    raw = program(model, HARDWARE, seed=0, chip=5)["weight"]
    assert torch.equal(treated(verify, model, HARDWARE, chip=5)["weight"][~verified], raw[~verified])


@pytest.mark.parametrize(
    "hardware",
    [
        HARDWARE,
        Hardware(device=devices.preset("FeFET6", sigma=0.2)),
        Hardware(
            device=devices.preset("FeFET6", sigma=0.2, level_of="cell"),
            mapping=ec.mapping.BitSliced(quantize=True),
        ),
        Hardware(device=devices.LogNormal(sigma=0.3), mapping=ec.mapping.Direct()),
    ],
    ids=["uniform", "levels", "cells", "log-normal"],
)
def test_all_weights_verified_is_the_chip_of_the_smaller_sigma_and_none_the_chip_itself(hardware):
    model = network()
    everything = SelectiveWriteVerify(fraction=1, score="random")
    nothing = SelectiveWriteVerify(fraction=0, score="random")
    exact = program(model, hardware.with_sigma(0.03), seed=0, chip=3)
    raw = program(model, hardware, seed=0, chip=3)
    for name in raw:
        assert torch.equal(treated(everything, model, hardware)[name], exact[name])
        assert torch.equal(treated(nothing, model, hardware)[name], raw[name])


@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_verifying_never_makes_a_quiet_device_louder(sigma):
    model, hardware = network(), HARDWARE.with_sigma(sigma)
    raw = program(model, hardware, seed=0, chip=3)
    for name, value in treated(SelectiveWriteVerify(fraction=1, score="random"), model, hardware).items():
        assert torch.equal(value, raw[name])


def test_what_else_a_chip_holds_is_passed_on():
    model = network()
    chip = program(model, HARDWARE, seed=0, chip=3) | {"extra": torch.ones(2)}
    verify = SelectiveWriteVerify(fraction=1, score="random").bind(model, HARDWARE)
    assert torch.equal(verify(chip, seed=0, path=PATH)["extra"], torch.ones(2))


# --- what it costs and what it brings ---------------------------------------------------------------------


def test_the_write_cycles_are_those_counted_weight_by_weight():
    model = network()
    for fraction, cycles in ((0.0, 10.0), (0.1, 10.0), (0.37, 8.0), (1.0, 10.0)):
        verify = SelectiveWriteVerify(fraction=fraction, score="magnitude", cycles=cycles)
        selection = verify.select(model, HARDWARE)
        writes = np.where(flat(selection.verified), cycles, 1.0)
        assert math.isclose(selection.normalised_write_cycles, writes.mean() / cycles)


def test_draws_carry_the_score_the_share_and_the_write_cycles():
    model, data = nn.Linear(10, 4, bias=False), task()
    verify = SelectiveWriteVerify(fraction=0.25, images=10, cycles=10)
    draws = evaluate(model, HARDWARE, data, chips=2, mitigation=verify, calibration=data)
    # 10 of 40 weights are written 10 times, the others once: (100 + 30) / 400.
    facts = {"score": "swim", "share_verified": 0.25, "normalised_write_cycles": 0.325}
    assert draws.treatment == ({"mitigation": "selective_write_verify", **facts},)
    assert ec.Draws.join([draws]).treatment == draws.treatment
    assert "treatment" not in draws.columns()
    assert evaluate(model, HARDWARE, data, chips=2).treatment == ()


def test_a_tenth_of_the_weights_chosen_by_swim_wins_back_more_than_a_tenth_at_random():
    model, (x, y) = network(), task()
    parameters = list(model.parameters())
    for _ in range(200):
        loss = F.cross_entropy(model(x), y)
        with torch.no_grad():
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.sub_(0.5 * slope)
    hardware = HARDWARE.with_sigma(0.25)
    test = task(1000, seed=0)[0][300:], task(1000, seed=0)[1][300:]
    draws = {
        score: evaluate(
            model, hardware, test, chips=40, calibration=(x, y),
            mitigation=SelectiveWriteVerify(fraction=0.1, score=score, images=300),
        )
        for score in ("swim", "fisher", "random")
    }  # fmt: skip
    plain = evaluate(model, hardware, test, chips=40)
    assert draws["swim"].compare(plain).difference.low > 0
    assert draws["swim"].compare(draws["random"]).difference.low > 0
    assert draws["fisher"].compare(draws["random"]).difference.low > 0


def test_recipes_name_it_and_refusals_are_one_line():
    value = Mitigation.parse({"kind": "selective_write_verify", "fraction": 0.1, "weighted": "variance"})
    assert value == SelectiveWriteVerify(fraction=0.1, weighted="variance") and value.per_chip
    model = network()
    with pytest.raises(ConfigError, match="fraction"):
        SelectiveWriteVerify(fraction=1.5)
    with pytest.raises(ConfigError, match="no calibration data"):
        SelectiveWriteVerify(fraction=0.1).bind(model, HARDWARE)
    with pytest.raises(DataError, match="at least the 500"):
        SelectiveWriteVerify(fraction=0.1).bind(model, HARDWARE, task())
    with pytest.raises(ConfigError, match="no nominal σ"):
        SelectiveWriteVerify(fraction=0.1, score="random").bind(model, Hardware(device=devices.Ideal()))
    smooth = nn.Sequential(nn.Linear(10, 4), nn.Tanh())
    with pytest.raises(ModelError, match=r'score = "fisher" takes any model$'):
        SelectiveWriteVerify(fraction=0.1, score="swim", images=10).bind(smooth, HARDWARE, task())
