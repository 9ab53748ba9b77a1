"""The adversary climbs as Büchel et al.'s does, stays within its bound, and the loss is the paper's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from reference import losses, rivals
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, kl_div, linear

from everychip import Hardware, devices, methods

N, ZETA = 4, 0.3


def numbers(tensor):
    return tensor.detach().double().numpy()


@pytest.fixture
def linear_setting():
    model = nn.Linear(5, 3, bias=False).double()
    x, y = torch.randn(7, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    return model, Hardware(device=devices.Gaussian(sigma=0.2)), x, y


def bound_of(w, relative):
    return ZETA * (np.abs(w) if relative else np.full_like(w, np.abs(w).max()))


@pytest.mark.parametrize("relative", [False, True])
def test_the_attack_and_the_loss_are_the_papers_on_a_linear_model(linear_setting, relative):
    model, hardware, x, y = linear_setting
    method = methods.AdversarialWeight(reach=ZETA, attack_steps=N, relative=relative, beta=0.5, noise=False)
    objective = method.bind(model, hardware, seed=3)
    w = numbers(model.weight)
    m = bound_of(w, relative)
    attacked = numbers(method.attack(objective, x, model(x).detach())["weight"])
    assert np.abs(attacked).max() <= 1
    moved = rivals.sign_ascent(numbers(x), w, _start(method, objective, w, m), bound=m, steps=N)
    np.testing.assert_allclose(w + attacked * m, moved, rtol=0, atol=1e-9)
    loss = float(objective(x, y).detach())
    z, worst = numbers(x) @ w.T, numbers(x) @ moved.T
    expected = losses.cross_entropy(z, y.tolist()) + 0.5 * rivals.divergence(z, worst)
    assert loss == pytest.approx(expected, rel=1e-7)


def _start(method, objective, w, m):
    """start·m/ζ·N(0, 1), from the same normals."""
    from everychip.rng import rng_for

    rng = rng_for(objective.seed, "adversarial_weight", objective.step, "weight")
    normal = torch.empty(w.shape, dtype=torch.float64).normal_(generator=rng).numpy()
    return method.start * normal * m / method.reach


def test_the_found_weights_are_worse_than_random_ones_of_the_same_size(setting):
    method = methods.AdversarialWeight(reach=0.1, attack_steps=5)
    objective = method.bind(setting.model.eval(), setting.hardware, seed=3)
    z = setting.model(setting.x).detach()
    found = method.attack(objective, setting.x, z)

    def distance(offsets):
        moved = {
            name: w.detach() + 0.1 * w.detach().abs().max() * offsets[name]
            for name, w in objective.weights.items()
        }
        with torch.no_grad():
            return rivals.divergence(numbers(z), numbers(functional_call(setting.model, moved, (setting.x,))))

    random = [{name: torch.randn_like(u).sign() for name, u in found.items()} for _ in range(10)]
    assert all(float(u.abs().max()) <= 1 for u in found.values())
    assert distance(found) > 2 * max(map(distance, random))


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("relative", [False, True])
def test_backward_sees_the_bound_as_the_authors_code_does_or_not_at_all(linear_setting, relative, through):
    model, hardware, x, y = linear_setting
    method = methods.AdversarialWeight(
        reach=ZETA, attack_steps=N, relative=relative, beta=2.0, noise=False, bound_gradient=through
    )
    objective = method.bind(model, hardware, seed=3)
    u = method.attack(objective, x, model(x).detach())["weight"]
    w = model.weight.detach().clone().requires_grad_()
    scale = w if through else w.detach()
    worst = w + ZETA * (scale.abs() if relative else scale.abs().max()) * u
    p, q = (linear(x, side).log_softmax(1) for side in (w, worst))
    divergence = kl_div(q, p, reduction="batchmean", log_target=True)
    (expected,) = torch.autograd.grad(cross_entropy(linear(x, w), y) + 2.0 * divergence, w)
    objective(x, y).backward()
    torch.testing.assert_close(model.weight.grad, expected)


def test_forward_noise_is_in_the_cross_entropy_only(setting, chips_run):
    method = methods.AdversarialWeight(attack_steps=2, beta=0.7)
    objective = method.bind(setting.model, setting.hardware, seed=3)
    twin = copy.deepcopy(setting.model)
    u = method.attack(objective, setting.x, twin(setting.x).detach())
    loss = float(objective(setting.x, setting.y).detach())
    (chip,) = [one for one in chips_run if "norm1.running_mean" not in one]  # the others are aside
    moved = {n: p.detach() * 1.0 + 0.1 * p.detach().abs().max() * u[n] for n, p in objective.weights.items()}
    expected = losses.cross_entropy(numbers(setting.logits(chip)), setting.labels)
    expected += 0.7 * rivals.divergence(numbers(setting.logits({})), numbers(setting.logits(moved)))
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("noise", [False, True])
def test_one_forward_moves_the_running_statistics(setting, chips_run, noise):
    twin = copy.deepcopy(setting.model)
    method = methods.AdversarialWeight(attack_steps=2, noise=noise)
    method.bind(setting.model, setting.hardware, seed=3)(setting.x, setting.y)
    functional_call(twin, chips_run[0] if noise else {}, (setting.x,))
    torch.testing.assert_close(setting.model.norm2.running_mean, twin.norm2.running_mean)
    assert int(setting.model.norm1.num_batches_tracked) == 1


def test_a_frozen_matrix_is_attacked_but_not_trained(setting):
    setting.model.conv1.weight.requires_grad_(False)
    method = methods.AdversarialWeight(attack_steps=2)
    objective = method.bind(setting.model, setting.hardware, seed=3)
    assert "conv1.weight" in method.attack(objective, setting.x, setting.model(setting.x).detach())
    objective(setting.x, setting.y).backward()
    assert setting.model.conv1.weight.grad is None
