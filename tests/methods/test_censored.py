"""Censored noise has the law it says, in closed form and in samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import losses
from reference.statistics import assert_moments
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from everychip import Hardware, devices, effective_sigma, methods
from everychip.errors import ConfigError

SIGMA_W = 0.2 * 0.77763  # of max|W|, at σ 0.2 of 8-bit weights on 2-bit cells


def noise(method, model=None, hardware=None):
    """One draw of the deviation of a large layer, in units of its max|W|."""
    model = model or nn.Linear(300, 300, bias=False)
    hardware = hardware or Hardware(device=devices.Gaussian(sigma=0.2))
    w = model.weight.detach()
    return (
        (method.chip(method.bind(model, hardware, seed=1))["weight"].detach() - w) / w.abs().max()
    ).numpy()


def moments(threshold):
    """Mean and standard deviation of min(N(0, 1), th) by quadrature."""
    mean, square = (
        quad(lambda z, p=p: z**p * norm.pdf(z), -np.inf, threshold)[0] + threshold**p * norm.sf(threshold)
        for p in (1, 2)
    )
    return mean, (square - mean**2) ** 0.5


@pytest.mark.parametrize("threshold", [0.5, 0.7, 1.0, 1.5, 2.0])
def test_the_mean_in_closed_form_is_that_of_quadrature(threshold):
    assert methods.Censored(threshold=threshold).mean == pytest.approx(moments(threshold)[0], abs=1e-9)


@pytest.mark.parametrize("threshold", [-5, 0, 10.1, 1e200, float("nan")])
def test_a_threshold_is_a_few_sigmas(threshold):
    with pytest.raises(ConfigError, match=r"threshold") as error:
        methods.Method.parse({"kind": "censored", "threshold": threshold})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("threshold", [1e-6, 10.0])
def test_at_either_end_of_the_range_the_mean_is_that_of_quadrature(threshold):
    assert methods.Censored(threshold=threshold).mean == pytest.approx(moments(threshold)[0], abs=1e-9)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
def test_the_noise_has_the_stated_moments_and_threshold(threshold, corrected):
    sample = noise(methods.Censored(threshold=threshold, ratio=1.5, mean_corrected=corrected))
    mean, std = moments(threshold)
    unit = 1.5 * SIGMA_W
    assert_moments(sample, mean=0.0 if corrected else unit * mean, std=unit * std)
    highest = unit * (threshold - mean if corrected else threshold)
    assert sample.max() == pytest.approx(highest, rel=1e-4)
    assert (sample > highest * (1 - 1e-4)).mean() == pytest.approx(norm.sf(threshold), abs=0.01)
    assert sample.min() < -3 * unit


def test_every_weight_of_a_layer_gets_the_same_sigma_the_devices_rms():
    model = nn.Linear(400, 400, bias=False)
    hardware = Hardware(device=devices.preset("FeFET6", sigma=0.2))
    sample = noise(methods.Censored(), model, hardware)
    share = (model.weight / model.weight.abs().max()).abs().detach().numpy()
    unit = effective_sigma(model, hardware).of_max
    _, std = moments(1.0)
    for middle in (True, False):
        part = sample[(share > 0.25) & (share < 0.75) if middle else share < 0.25]
        assert part.std() == pytest.approx(unit * std, rel=0.02)


def test_the_loss_is_cross_entropy_under_that_noise(setting):
    method = methods.Censored(threshold=0.7)
    objective = method.bind(setting.model, setting.hardware, seed=3)
    loss = float(objective(setting.x, setting.y).detach())
    z = setting.logits(method.chip(objective)).double().numpy()
    assert loss == pytest.approx(losses.cross_entropy(z, setting.labels), rel=1e-5)


def test_a_ramp_scales_the_noise(setting):
    objective = methods.Censored(ramp=1.0).bind(setting.model, setting.hardware, seed=3, steps=4)
    shown = []
    for _ in range(3):
        shown.append(setting.sigma("hidden.weight", objective.method.chip(objective)))
        objective.after_step()
    std = moments(1.0)[1]
    assert shown == pytest.approx([0.0, 0.05 * std, 0.1 * std], rel=0.06)


def test_the_gradient_is_that_of_the_law_written_out(setting):
    """Detached: σ_t·max|W| is a constant. Pathwise: it depends on the largest weight."""
    found = {}
    for kind in ("detached", "pathwise"):
        method = methods.Censored(noise_gradient=kind)
        objective = method.bind(setting.model, setting.hardware, seed=3)
        w = setting.model.out.weight
        chip = method.chip(objective)["out.weight"]
        unit = (chip.detach() - w.detach()) / w.detach().abs().max()
        ones = torch.ones_like(w)
        expected = ones.clone()
        if kind == "pathwise":
            largest = w.detach().abs().argmax()
            expected.view(-1)[largest] += unit.sum() * w.detach().view(-1)[largest].sign()
        (found[kind],) = torch.autograd.grad(chip.sum(), w)
        torch.testing.assert_close(found[kind], expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found["detached"], found["pathwise"])
