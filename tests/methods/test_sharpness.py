"""SAM's and SAMSON's gradients are those at the point that their equations step to."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from reference import losses, rivals
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from everychip import Hardware, devices, methods
from everychip.methods.sharpness import uphill

MATRICES = ["conv1.weight", "conv2.weight", "hidden.weight", "out.weight"]


def gradients(model, x, y):
    """Of plain cross-entropy on a copy of a model, by name."""
    twin = copy.deepcopy(model)
    twin.zero_grad()
    cross_entropy(twin(x), y).backward()
    return {name: p.grad for name, p in twin.named_parameters()}


def stepped(model, epsilon):
    """A copy of a model that stands at Θ + ε."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, step in epsilon.items():
            twin.get_parameter(name).add_(torch.as_tensor(step, dtype=twin.get_parameter(name).dtype))
    return twin


def literal(model, x, y, names, stretch, rho):
    slopes = gradients(model, x, y)
    t = [stretch(model.get_parameter(n).detach().double().numpy()) for n in names]
    steps = rivals.worst_step([slopes[n].double().numpy() for n in names], t, rho=rho)
    return dict(zip(names, steps, strict=True))


STRETCHES = {
    "sam": (methods.SAM(rho=0.7), None, np.ones_like),
    "samson": (methods.SAMSON(rho=0.7), MATRICES, lambda w: np.abs(w) / np.abs(w).max()),
    "samson, l2": (
        methods.SAMSON(rho=0.7, norm="l2"),
        MATRICES,
        lambda w: np.abs(w) / np.sqrt((w**2).sum()),
    ),
}


@pytest.mark.parametrize("name", STRETCHES)
def test_loss_and_gradient_are_those_at_the_point_uphill(setting, name):
    method, names, stretch = STRETCHES[name]
    names = names or [n for n, _ in setting.model.named_parameters()]
    epsilon = literal(setting.model, setting.x, setting.y, names, stretch, 0.7)
    there = stepped(setting.model, epsilon)
    z = there(setting.x).detach().double().numpy()
    expected = gradients(there, setting.x, setting.y)
    loss = method.bind(setting.model, setting.hardware, seed=3)(setting.x, setting.y)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(losses.cross_entropy(z, setting.labels), rel=1e-4)
    for key, p in setting.model.named_parameters():
        torch.testing.assert_close(p.grad, expected[key], rtol=1e-3, atol=1e-5)


def test_on_a_quadratic_the_step_uphill_is_the_steepest_of_its_length():
    slopes = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    one = torch.ones(())
    steps = uphill({**slopes}, {"a": one, "b": one}, rho=2.0)
    gain = sum(float((slopes[n] * steps[n]).sum()) for n in slopes)
    assert gain == pytest.approx(2.0 * 5.0)
    for _ in range(50):
        other = {n: torch.randn_like(s) for n, s in slopes.items()}
        length = sum(float(s.square().sum()) for s in other.values()) ** 0.5
        assert sum(float((slopes[n] * s).sum()) for n, s in other.items()) * 2.0 / length <= gain + 1e-6


def test_samson_steps_have_length_rho_in_the_weights_own_measure(setting):
    """‖T⁻¹ε‖ = ρ, and it follows a layer's scale: T of 3W is T of W."""
    method = methods.SAMSON(rho=0.3)
    objective = method.bind(setting.model, setting.hardware)
    t = method.stretches(objective)
    assert set(t) == set(MATRICES)
    slopes = {n: torch.randn_like(s) for n, s in t.items()}
    steps = uphill({**slopes}, t, rho=0.3)
    assert sum(float((steps[n] / t[n]).square().sum()) for n in t) ** 0.5 == pytest.approx(0.3, rel=1e-5)
    w = torch.randn(4, 5)
    torch.testing.assert_close(method.stretch(w), method.stretch(3 * w))


def test_no_gradient_no_step(setting):
    zero = {"w": torch.zeros(3)}
    assert torch.equal(uphill(zero, {"w": torch.ones(())}, rho=1.0)["w"], torch.zeros(3))


@pytest.mark.parametrize("kind", [methods.SAM, methods.SAMSON])
def test_with_noise_both_losses_are_of_one_chip(setting, kind):
    still = kind(rho=0.0, noise=True).bind(setting.model, setting.hardware, seed=3)
    chip = methods.NoiseInjection().bind(setting.model, setting.hardware, seed=3)
    torch.testing.assert_close(still(setting.x, setting.y), chip(setting.x, setting.y))
    away = kind(rho=1.0, noise=True).bind(setting.model, setting.hardware, seed=3)
    assert float(away(setting.x, setting.y).detach()) > float(still(setting.x, setting.y).detach())
    assert kind(noise=True).noisy
    assert not kind().noisy


@pytest.mark.parametrize("noise", [False, True])
def test_the_first_forward_alone_moves_the_running_statistics(setting, noise):
    twin = copy.deepcopy(setting.model)
    objective = methods.SAM(rho=3.0, noise=noise).bind(setting.model, setting.hardware, seed=3)
    chip = objective.chip() if noise else {}
    objective(setting.x, setting.y)
    functional_call(twin, chip, (setting.x,))
    for name in ("norm1", "norm2"):
        found, expected = setting.model.get_submodule(name), twin.get_submodule(name)
        torch.testing.assert_close(found.running_mean, expected.running_mean)
        torch.testing.assert_close(found.running_var, expected.running_var)
        assert int(found.num_batches_tracked) == 1


def test_both_forwards_meet_the_same_dropout_masks(setting):
    """With the same mask both losses are equal at ρ = 0; and the next step draws another one."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Dropout(0.5), nn.Linear(20, 4))
    objective = methods.SAM(rho=0.0).bind(model, setting.hardware)
    seen = []
    model[2].register_forward_hook(lambda _m, _a, h: seen.append((h == 0).clone()))
    for _ in range(2):
        objective(setting.x, setting.y)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], seen[2])


def test_frozen_parameters_are_not_moved(setting):
    setting.model.conv1.weight.requires_grad_(False)
    for kind in (methods.SAM, methods.SAMSON):
        objective = kind().bind(setting.model, Hardware(device=devices.Gaussian(sigma=0.1)))
        assert "conv1.weight" not in kind().stretches(objective)
        objective(setting.x, setting.y).backward()
