"""What holds for every method that the package has, whatever its own idea: see the list of kinds."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import everychip as ec
from everychip import Hardware, devices, methods, rng_for
from everychip.data import Arrays
from everychip.training import loop as training
from everychip.training.loop import Training, train

OWN = {
    name: kind for name, kind in methods.Method.kinds().items() if kind.__module__.startswith("everychip.")
}
CHEAPER = {
    "irs": {"hidden": 8},
    "deep_supervision": {"hidden": 8},
    "adversarial_weight": {"attack_steps": 1},
    "correctnet": {"scale": 0.7},
}
GAUSSIAN = Hardware(device=devices.Gaussian(sigma=0.1))


def made(name, **fields):
    return OWN[name](**CHEAPER.get(name, {}), **fields)


def net(seed=0):
    generator = rng_for(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / math.sqrt(p.shape[-1]))
    return model


def separable(n=96):
    x = torch.randn(n, 6, generator=rng_for(1))
    return x, x[:, :3].argmax(1)


# --- no noise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["detached", "pathwise", "clean"])
@pytest.mark.parametrize(
    ("name", "quiet"),
    [
        (name, quiet)
        for name in OWN
        for quiet in ("sigma 0", "ideal", "a layer of zeros")
        if (name, quiet)
        not in (
            ("ovf", "ideal"),
            ("vant", "ideal"),
            ("temperature_statistics", "ideal"),
        )  # these ask for a nominal σ
    ],
)
def test_without_noise_every_gradient_is_finite(name, quiet, gradient):
    sigma = 0.1 if quiet == "a layer of zeros" else 0.0
    device = devices.Ideal() if quiet == "ideal" else devices.Gaussian(sigma=sigma)
    model, (x, y) = net(), separable(16)
    if quiet == "a layer of zeros":
        nn.init.zeros_(model[3].weight)
    objective = made(name, noise_gradient=gradient).bind(
        model, Hardware(device=device), sample=x[:2], steps=4
    )
    objective.step = 2  # past the ramps of half of the training, and a distillation's teacher
    loss = objective(x, y)
    loss.backward()
    assert loss.isfinite()
    for parameter, p in model.named_parameters():
        assert p.grad is None or bool(p.grad.isfinite().all()), parameter


# --- averaging --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OWN)
def test_the_average_of_the_weights_is_what_every_method_returns(monkeypatch, name):
    seen, step = [], training._Loop._step

    def recorded(loop, chosen, batch):
        loss = step(loop, chosen, batch)
        seen.append({key: value.detach().clone() for key, value in loop.model.state_dict().items()})
        return loss

    monkeypatch.setattr(training._Loop, "_step", recorded)
    fitted = train(
        net(),
        made(name),
        Arrays(*separable()),
        hardware=GAUSSIAN,
        training=Training(epochs=1, batch_size=16, lr=0.05, average=0.9, validation_chips=1),
    )
    expected = seen[0]
    for state in seen[1:]:
        expected = {key: 0.9 * expected[key] + 0.1 * state[key] for key in state}
    assert len(seen) == 5
    assert not torch.allclose(seen[-1]["0.weight"], expected["0.weight"], rtol=1e-3)
    for key, value in fitted.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-6)


# --- weights that are trained already ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    hardware = Hardware(device=devices.Ideal())
    return ec.fit(
        net(), methods.Vanilla(), separable(400), hardware=hardware, epochs=20, batch_size=20, lr=0.02
    )


@pytest.mark.parametrize("name", OWN)
def test_every_method_goes_on_from_weights_that_are_trained_already(trained, name):
    """A step so small that it changes nothing keeps the accuracy; only a clamp moves the weights at first."""
    x, y = separable(400)
    before = float((trained(x).argmax(1) == y).float().mean())
    assert before > 0.95
    model = ec.fit(
        copy.deepcopy(trained),
        made(name),
        (x, y),
        hardware=Hardware(device=devices.Gaussian(sigma=0.01)),
        epochs=1,
        lr=1e-9,
        batch_size=100,
    )
    assert float((model(x).argmax(1) == y).float().mean()) > before - 0.1
    for key, value in trained.state_dict().items():
        if name != "resilient" and "weight" in key:
            torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=1e-6)
