"""CorrectNet's penalty is that of its equation, and does what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import losses, rivals
from scipy.stats import lognorm
from torch import nn

from everychip import Hardware, devices, methods
from everychip.errors import ConfigError
from everychip.methods.correctnet import departure, lipschitz_bound

MATRICES = ["conv1.weight", "conv2.weight", "hidden.weight", "out.weight"]


def arrays(setting):
    return [setting.model.get_parameter(name).detach().double().numpy() for name in MATRICES]


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.4])
def test_the_scale_is_one_over_the_lognormal_mean_plus_three_deviations(sigma):
    law = lognorm(s=sigma)
    assert lipschitz_bound(sigma) == pytest.approx(1 / (law.mean() + 3 * law.std()))


def test_matrix_view_is_its_equation(setting):
    """On the wider side the Gram matrix has |rows − columns| zeros more, each of which costs λ⁴."""
    scale = lipschitz_bound(0.2)
    loss = methods.CorrectNet(beta=0.3).bind(setting.model, setting.hardware, seed=3)(setting.x, setting.y)
    chip = methods.NoiseInjection().bind(setting.model, setting.hardware, seed=3).chip()
    expected = losses.cross_entropy(setting.logits(chip).double().numpy(), setting.labels)
    for w in arrays(setting):
        flat = w.reshape(len(w), -1)
        short = flat if flat.shape[0] > flat.shape[1] else flat.T
        expected += 0.3 * rivals.gram_departure(short, scale)
        if flat.size < 500:
            wide = rivals.gram_departure(flat, scale) - rivals.gram_departure(flat.T, scale)
            assert wide == pytest.approx((flat.shape[1] - flat.shape[0]) * scale**4, rel=1e-6)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_is_the_matrix_of_its_outputs(groups):
    """Row o holds what output channel o collects: w[i, o, :, :] over the inputs i of its group."""
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=groups), nn.Flatten(), nn.Linear(150, 3))
    x, y = torch.randn(8, 4, 3, 3), torch.arange(8) % 3
    hardware = Hardware(device=devices.Gaussian(sigma=0.2))
    loss = [
        float(methods.CorrectNet(beta=b, scale=0.7, noise=False).bind(model, hardware)(x, y).detach())
        for b in (0.0, 1.0)
    ]
    w, outputs = model[0].weight.detach().double().numpy(), 6 // groups
    rows = []
    for o in range(6):
        group = o // outputs
        inputs = range(group * 4 // groups, (group + 1) * 4 // groups)
        rows.append(np.concatenate([w[i, o % outputs].ravel() for i in inputs]))
    expected = rivals.gram_departure(np.stack(rows).T, 0.7)
    expected += rivals.gram_departure(model[2].weight.detach().double().numpy().T, 0.7)
    assert loss[1] - loss[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("layer", "kernels"),
    [(nn.Conv1d(3, 5, 4), 5), (nn.Conv3d(2, 3, (2, 4, 3)), 2 * 3 * 2), (nn.ConvTranspose2d(2, 3, 3), 6)],
    ids=["conv1d", "conv3d", "transposed"],
)
def test_the_kernel_view_takes_the_last_two_dimensions(layer, kernels):
    w = layer.weight.detach().double().numpy()
    parts = w.reshape(-1, *w.shape[-2:])
    assert len(parts) == kernels
    tall = [kernel if kernel.shape[0] >= kernel.shape[1] else kernel.T for kernel in parts]
    expected = sum(rivals.gram_departure(kernel, 1.0) for kernel in tall)
    assert float(departure([layer.weight.detach()], 1.0, view="kernel")) == pytest.approx(expected, rel=1e-5)


def test_kernel_view_is_the_authors_code_less_a_constant(setting):
    """w.view(-1, size(-2), size(-1)): every 3×3 kernel alone, a linear layer as it is; β = 5e-4, λ = 1."""
    chip = methods.NoiseInjection().bind(setting.model, setting.hardware, seed=3).chip()
    method = methods.CorrectNet(view="kernel")
    loss = method.bind(setting.model, setting.hardware, seed=3)(setting.x, setting.y)
    code, constant = 0.0, 0
    for w in arrays(setting):
        for kernel in w.reshape(-1, *w.shape[-2:]):
            code += rivals.gram_departure(kernel, 1.0)
            constant += max(kernel.shape[1] - kernel.shape[0], 0)
    expected = losses.cross_entropy(setting.logits(chip).double().numpy(), setting.labels)
    assert float(loss.detach()) == pytest.approx(expected + 5e-4 * (code - constant), rel=1e-5)


def test_descent_on_the_penalty_gives_every_singular_value_the_scale():
    weights = [nn.Parameter(torch.randn(6, 20) / 5), nn.Parameter(torch.randn(5, 2, 3, 3) / 5)]
    optimizer = torch.optim.Adam(weights, lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        departure(weights, 0.7, view="matrix").backward()
        optimizer.step()
    for w in weights:
        torch.testing.assert_close(
            torch.linalg.svdvals(w.flatten(1)), torch.full((len(w),), 0.7), atol=0.01, rtol=0
        )


def test_without_noise_it_never_meets_a_chip(setting):
    losses_ = [
        float(
            methods.CorrectNet(noise=False, scale=0.7)
            .bind(setting.model, hardware)(setting.x, setting.y)
            .detach()
        )
        for hardware in (setting.hardware, Hardware(device=devices.Ideal()))
    ]
    assert losses_[0] == pytest.approx(losses_[1], rel=1e-6)
    assert not methods.CorrectNet(noise=False).noisy


def test_the_matrix_view_needs_a_sigma_or_a_scale(setting):
    hardware = Hardware(device=devices.Ideal())
    with pytest.raises(ConfigError, match=r"method\.scale.*no nominal σ") as error:
        methods.CorrectNet().bind(setting.model, hardware)
    assert "\n" not in str(error.value)
    methods.CorrectNet(scale=0.7).bind(setting.model, hardware)
    methods.CorrectNet(view="kernel").bind(setting.model, hardware)
