"""The penalty is each layer's relative squared error, pulled on the noisy side only."""

from __future__ import annotations

import copy

import pytest
import torch
from reference import losses, rivals
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from everychip import Hardware, devices, methods
from everychip.errors import ModelError
from everychip.methods.consistency import relative_error

LAYERS = ["conv1", "conv2", "hidden", "out"]


def features(setting, chip):
    """What every layer returns on a copy of the model with overwritten weights."""
    twin, seen = copy.deepcopy(setting.model), {}
    for name in LAYERS:
        twin.get_submodule(name).register_forward_hook(lambda _m, _a, h, key=name: seen.update({key: h}))
    z = functional_call(twin, chip, (setting.x,))
    return z, seen


def test_the_loss_is_its_equation(setting, chips_run):
    method = methods.Consistency(coefficient=0.4)
    loss = float(method.bind(setting.model, setting.hardware, seed=3)(setting.x, setting.y).detach())
    (chip,) = [one for one in chips_run if "norm1.running_mean" not in one]  # the others are aside
    (_, clean), (z, noisy) = features(setting, {}), features(setting, chip)
    expected = losses.cross_entropy(z.detach().double().numpy(), setting.labels)
    sides = [[side[name].detach().double().numpy() for name in LAYERS] for side in (noisy, clean)]
    assert loss == pytest.approx(expected + 0.4 * rivals.relative_error(*sides), rel=1e-5)


def test_the_clean_side_gets_no_gradient(setting):
    objective = methods.Consistency(coefficient=2.0).bind(setting.model, setting.hardware, seed=3)
    w = {name: p.detach().clone().requires_grad_() for name, p in objective.weights.items()}
    deviations = {name: (noisy - w[name]).detach() for name, noisy in objective.chip().items()}
    constant = {name: h.detach() for name, h in features(setting, {})[1].items()}
    z, noisy = features(setting, {name: p + deviations[name] for name, p in w.items()})
    terms = [((noisy[n] - constant[n]) ** 2).sum() / (constant[n] ** 2).sum() for n in LAYERS]
    expected = torch.autograd.grad(cross_entropy(z, setting.y) + 2.0 * sum(terms), list(w.values()))
    objective(setting.x, setting.y).backward()
    for name, slope in zip(w, expected, strict=True):
        torch.testing.assert_close(setting.model.get_parameter(name).grad, slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Hardtanh])
def test_an_activation_that_writes_over_its_input_changes_no_layers_output(activation):
    found = {}
    for inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), activation(inplace=inplace), nn.Linear(8, 4))
        objective = methods.Consistency(coefficient=0.5).bind(
            model, Hardware(device=devices.Gaussian(sigma=0.3))
        )
        loss = objective(torch.randn(16, 6), torch.arange(16) % 4)
        loss.backward()
        found[inplace] = [loss.detach(), *(p.grad for p in model.parameters())]
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other)


def test_only_the_chip_moves_the_running_statistics(setting, chips_run):
    twin = copy.deepcopy(setting.model)
    methods.Consistency().bind(setting.model, setting.hardware, seed=3)(setting.x, setting.y)
    _clean, chip = chips_run
    functional_call(twin, chip, (setting.x,))
    torch.testing.assert_close(setting.model.norm2.running_mean, twin.norm2.running_mean)
    assert int(setting.model.norm1.num_batches_tracked) == 1


def test_without_noise_there_is_nothing_to_pull_even_under_dropout(setting):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Dropout(0.5), nn.Linear(20, 4))
    quiet = Hardware(device=devices.Gaussian(sigma=0.0))
    state = torch.get_rng_state()
    loss = methods.Consistency(coefficient=100.0).bind(model, quiet)(setting.x, setting.y)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    plain = methods.NoiseInjection().bind(model, quiet)(setting.x, setting.y)
    torch.testing.assert_close(loss, plain)
    assert torch.equal(after, torch.get_rng_state()), "the next step must draw other masks, as it would alone"
    assert not torch.equal(after, state)


def test_attention_is_read_where_it_is_called():
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    objective = methods.Consistency().bind(model, Hardware(device=devices.Gaussian(sigma=0.1)))
    loss = objective(torch.randn(2, 5, 8), torch.randint(8, (2, 5)))
    loss.backward()
    assert bool(loss.isfinite())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_that_returns_zeros_is_no_division_by_zero():
    zero = {"a": torch.zeros(3)}
    assert float(relative_error(zero, zero)) == 0.0
    with pytest.raises(ModelError, match="no crossbar layer"):
        relative_error({}, {})
