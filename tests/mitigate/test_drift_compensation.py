"""Drift compensation: one scale per layer, the ratio of what the layer's matrix lets through."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from reference.zoo import ARCHITECTURES, architecture
from torch import nn

import everychip as ec
from everychip import Hardware, devices, evaluate, program, rng_for
from everychip.errors import ConfigError
from everychip.hardware.chip import program_weights
from everychip.mitigate import DriftCompensation

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


def network():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, groups=3), nn.BatchNorm2d(6),
        nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6 * 36, 8), nn.Tanh(), nn.Linear(8, 4),
    )  # fmt: skip


def images(n=40):
    return torch.randn(n, 3, 8, 8, generator=rng_for(0, "x")), torch.arange(n) % 4


def compensated(model, chip, data, images=40):
    return DriftCompensation(images=images).bind(model, HARDWARE, data)(chip, seed=0, path=())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_decay_common_to_a_layer_is_undone_in_every_architecture(name):
    model, x = architecture(name)
    weights = HARDWARE.crossbar(model)
    chip = {key: value.detach() * (0.9 - 0.02 * n) for n, (key, value) in enumerate(weights.items())}
    data = (x, torch.zeros(len(x), dtype=torch.long))
    treated = compensated(model, chip, data, images=len(x))
    for key, value in weights.items():
        torch.testing.assert_close(treated[key], value.detach(), rtol=1e-4, atol=1e-6)


def test_the_scales_are_the_ratios_of_mean_outputs_for_the_digital_networks_inputs():
    model, (x, y) = network().eval(), images()
    chip = program(model, HARDWARE, seed=0, chip=3)
    treated = compensated(model, chip, (x, y))
    used = x[torch.randperm(len(x), generator=rng_for(0, "calibration"))]
    with torch.no_grad():
        h1 = F.relu(F.conv2d(used, model[0].weight, model[0].bias, padding=1))
        h2 = model[3](F.conv2d(h1, model[2].weight, model[2].bias, groups=3)).relu().flatten(1)
        h3 = (h2 @ model[6].weight.T + model[6].bias).tanh()
        products = {
            "0.weight": lambda w: F.conv2d(used, w, padding=1),
            "2.weight": lambda w: F.conv2d(h1, w, groups=3),
            "6.weight": lambda w: h2 @ w.T,
            "8.weight": lambda w: h3 @ w.T,
        }
        for name, product in products.items():
            ratio = product(model.get_parameter(name)).abs().mean() / product(chip[name]).abs().mean()
            torch.testing.assert_close(treated[name], chip[name] * ratio, rtol=1e-4, atol=1e-6)


def test_scaling_the_matrix_is_a_digital_scale_before_the_bias():
    model, (x, y) = network().eval(), images()
    chip = program(model, HARDWARE, seed=0, chip=3)
    treated = compensated(model, chip, (x, y))
    scale = (treated["8.weight"] / chip["8.weight"]).mean()
    h = torch.randn(5, 8, generator=rng_for(1))
    whole = F.linear(h, treated["8.weight"], model[8].bias)
    torch.testing.assert_close(whole, scale * F.linear(h, chip["8.weight"]) + model[8].bias)


def test_a_matrix_used_twice_is_judged_by_both_uses():
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6, 2))
    x, y = torch.randn(30, 6, generator=rng_for(2)), torch.arange(30) % 2
    chip = program_weights(HARDWARE.crossbar(model), HARDWARE, seed=0, path=(0,))
    treated = compensated(model, chip, (x, y), images=30)
    with torch.no_grad():
        inputs = torch.cat([x, layer(x).relu()])
        ratio = (inputs @ layer.weight.T).abs().sum() / (inputs @ chip["0.weight"].T).abs().sum()
    torch.testing.assert_close(treated["0.weight"], chip["0.weight"] * ratio)


def test_inputs_given_by_name_are_seen_too():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(input=x)

    model, x = Named(), torch.randn(20, 4, generator=rng_for(4))
    chip = program(model, HARDWARE, seed=0, chip=0)
    treated = compensated(model, chip, (x, torch.arange(20) % 2), images=20)
    ratio = (x @ model.layer.weight.detach().T).abs().sum() / (x @ chip["layer.weight"].T).abs().sum()
    torch.testing.assert_close(treated["layer.weight"], chip["layer.weight"] * ratio)


def test_attention_is_read_at_one_voltage_so_that_noise_does_not_shrink_it():
    model, x = architecture("attention")
    weight = model.attention.in_proj_weight.detach()
    noise = torch.randn(weight.shape, generator=rng_for(3)) * weight.abs().max()
    noise -= weight.sign() * (weight.sign() * noise).mean()  # without a part that all cells share
    name = "attention.in_proj_weight"
    treated = compensated(model, {name: 0.7 * weight + noise}, (x, torch.zeros(len(x)).long()), images=len(x))
    torch.testing.assert_close(treated[name], weight + noise / 0.7, rtol=1e-4, atol=1e-5)


def test_model_chip_and_hooks_stay_as_they_are_and_what_cannot_be_read_is_left_alone():
    model, (x, y) = network().train(), images()
    before = copy.deepcopy(model.state_dict())
    chip = {**program(model, HARDWARE, seed=0, chip=3), "3.running_mean": torch.ones(6)}
    chip["0.weight"], chip["2.weight"] = torch.zeros_like(chip["0.weight"]), chip["2.weight"] * torch.nan
    kept = {name: value.clone() for name, value in chip.items()}
    treated = compensated(model, chip, (x, y))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not any(module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(chip[name].nan_to_num(), kept[name].nan_to_num()) for name in kept)
    assert set(treated) == set(chip)
    for name in ("0.weight", "2.weight", "3.running_mean"):
        assert torch.equal(treated[name].nan_to_num(), kept[name].nan_to_num())


def test_evaluate_wins_back_what_a_common_decay_cost():
    class Faded(devices.Device):
        """Every cell has lost the same share of its conductance."""

        symmetric = False

        def deviation(self, g, rng):
            return -0.6 * g

        def std(self, g):
            return torch.zeros_like(g)

    try:
        hardware = Hardware(device=Faded(), mapping=ec.mapping.Direct())
        model, (x, _) = network(), images()
        y = model.eval()(x).argmax(1)
        plain = evaluate(model, hardware, (x, y), chips=1)
        again = evaluate(
            model, hardware, (x, y), chips=1, mitigation=DriftCompensation(images=20), calibration=(x, y)
        )
        assert float(plain.accuracy) < 1.0
        assert float(again.accuracy) == 1.0
    finally:
        devices.Device.registry.pop("faded")


def test_it_needs_calibration_data():
    with pytest.raises(ConfigError, match=r"mitigation drift_compensation: found no calibration data"):
        DriftCompensation().bind(network(), HARDWARE)
