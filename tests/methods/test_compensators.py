"""Compensators change nothing at first, learn beside a frozen network, and leave its chips as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from reference.zoo import architecture
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, relu

from everychip import Hardware, devices, evaluate, fit, methods, models, program, rng_for
from everychip.data import Arrays
from everychip.errors import ConfigError, ModelError
from everychip.hardware import chip
from everychip.methods.compensators import compensate
from everychip.training.loop import Training, train

HARDWARE = Hardware(device=devices.Gaussian(sigma=0.2))


def trained_vgg8():
    """A small VGG-8 whose running statistics are those of its data."""
    model = models.VGG8(width=4).build((1, 16, 16), 4, seed=0)
    x = torch.randn(64, 1, 16, 16, generator=rng_for(0))
    model(x)
    return model.eval(), x


def wake(corrected):
    """Give every compensator something to say."""
    for p in corrected.compensators.parameters():
        with torch.no_grad():
            p.copy_(torch.randn(p.shape, generator=rng_for(1)) * 0.3)


def test_nothing_changes_before_they_are_trained():
    model, x = trained_vgg8()
    before = model(x)
    names = dict(program(model, HARDWARE, seed=0, chip=3))
    corrected = compensate(model, x[:2])
    assert torch.equal(corrected(x), before)
    hardware = corrected.digital(HARDWARE)
    again = program(corrected, hardware, seed=0, chip=3)
    assert list(again) == list(names)
    for name, value in names.items():
        assert torch.equal(again[name], value), "the compensated network must meet the same chips"
    assert torch.equal(chip.run(corrected, again, x), chip.run(model, names, x))
    assert not any(m._forward_hooks for m in model.modules())


def test_the_correction_is_its_equation():
    """A layer of stride 2: 1×1 convolutions of its output beside its average-pooled input."""
    conv = nn.Conv2d(3, 5, 3, stride=2)
    model = nn.Sequential(conv, nn.Flatten(), nn.Linear(5 * 9, 2))
    x = torch.randn(4, 3, 8, 8)
    corrected = compensate(model, x[:2], where=["0"], ratio=0.5)
    wake(corrected)
    (c,) = corrected.compensators
    h = conv(x)
    beside = torch.cat([h, adaptive_avg_pool2d(x, h.shape[2:])], dim=1)
    inner = relu(conv2d(beside, c.squeeze.weight[:, :, None, None], c.squeeze.bias))
    expected = h + conv2d(inner, c.expand.weight[:, :, None, None], c.expand.bias)
    torch.testing.assert_close(corrected(x), model[2](expected.flatten(1)))


@pytest.mark.parametrize(
    "name", ["linear", "conv1d", "conv3d", "grouped", "transposed 2d", "encoder", "view", "norms and dropout"]
)
def test_it_takes_every_kind_of_network(name):
    model, x = architecture(name)
    model = (
        model
        if name not in ("linear", "conv1d", "conv3d", "grouped", "transposed 2d")
        else nn.Sequential(model, nn.Flatten(), nn.LazyLinear(3))
    )
    model(x)
    corrected = compensate(model, x)
    torch.testing.assert_close(corrected(x), model(x))
    wake(corrected)
    out = corrected(x)
    assert out.shape == model(x).shape
    assert not torch.allclose(out, model(x))
    out.sum().backward()
    assert all(p.grad is not None for p in corrected.compensators.parameters())


def test_training_fills_the_compensators_and_touches_nothing_else():
    model, x = trained_vgg8()
    y = torch.arange(64) % 4
    kept = copy.deepcopy(model.state_dict())
    corrected = compensate(model, x[:2])
    hardware = corrected.digital(HARDWARE)
    before = evaluate(corrected, hardware, (x, y), chips=4)
    fitted = train(
        corrected,
        methods.NoiseInjection(),
        Arrays(x, y),
        hardware=hardware,
        training=Training(epochs=3, batch_size=16, lr=3e-3),
    )
    assert fitted.model is corrected
    for name, value in corrected.state_dict().items():
        if name.startswith("compensators"):
            assert value.any()
        else:
            assert torch.equal(value, kept[name]), name
    after = evaluate(corrected, hardware, (x, y), chips=4)
    assert float(after.nll.mean()) < float(before.nll.mean())
    assert 0 < corrected.overhead < 0.25


def test_they_correct_what_a_frozen_network_gets_wrong_on_its_chips():
    """A network trained without noise, then compensated, beats itself on chips it has never met."""
    x = torch.randn(600, 8, generator=rng_for(0))
    y = (x[:, :4].sum(1) > 0).long()
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    options = {"batch_size": 20, "lr": 5e-3, "seed": 0}
    noisy = Hardware(device=devices.Gaussian(sigma=0.25))
    model = fit(model, methods.Vanilla(), (x, y), hardware=noisy, epochs=6, **options)
    alone = evaluate(model, noisy, (x, y), chips=40)
    corrected = compensate(model, x[:2], ratio=1.0)
    digital = corrected.digital(noisy)
    corrected = fit(corrected, methods.NoiseInjection(), (x, y), hardware=digital, epochs=6, **options)
    beside = evaluate(corrected, digital, (x, y), chips=40)
    assert float((beside.nll - alone.nll).mean()) < 0
    assert float((beside.accuracy - alone.accuracy).mean()) > -0.01


def test_copies_and_state_dicts_work_as_for_any_module():
    model, x = trained_vgg8()
    corrected = compensate(model, x[:2])
    wake(corrected)
    twin = copy.deepcopy(corrected)
    assert torch.equal(twin(x), corrected(x))
    hardware = corrected.digital(HARDWARE)
    for network in (corrected, twin):
        held = program(network, hardware, seed=0, chip=0)
        assert not torch.equal(chip.run(network, held, x), network(x))
    fresh = compensate(models.VGG8(width=4).build((1, 16, 16), 4, seed=9), x[:2])
    fresh.load_state_dict(corrected.state_dict())
    assert torch.equal(fresh(x), corrected(x))
    assert set(model.state_dict()) < set(corrected.state_dict())
    assert torch.equal(corrected.double()(x.double()), model(x.double())) is False


def test_a_parameter_of_the_model_itself_is_programmed_too():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.mixing = nn.Parameter(torch.randn(4, 3))
            self.last = nn.Linear(3, 2)

        def forward(self, x):
            return self.last(self.first(x) @ self.mixing)

    model, x = Mixing(), torch.randn(5, 4)
    corrected = compensate(model, x)
    zeroed = {"mixing": torch.zeros(4, 3)}
    torch.testing.assert_close(chip.run(corrected, zeroed, x), model.last.bias.expand(5, 2))
    assert float(model.mixing.abs().sum()) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": ["nowhere"]}, "nowhere.*linear and convolution layers"),
        ({"where": ["1"]}, "linear and convolution layers"),
        *(
            ({"ratio": ratio}, r"^compensate\.ratio: found .*; expected a number, more than 0$")
            for ratio in (0.0, -1, float("nan"), float("inf"), "a", None, True)
        ),
        ({"where": 3}, r"^compensate\.where: found 3; expected a list of names"),
        ({"where": "0"}, r"^compensate\.where: found '0'; expected a list of names"),
        ({"where": ["0", "2", "0"]}, r"^compensate\.where: found '0' twice; .*each once"),
        ({"where": [0]}, "linear and convolution layers"),
        ({"where": []}, "linear and convolution layers"),
    ],
)
def test_refusals_are_one_line(options, words):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises((ConfigError, ModelError), match=words) as error:
        compensate(model, torch.ones(2, 3), **options)
    assert "\n" not in str(error.value)


def test_a_network_is_compensated_once():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    corrected = compensate(model, torch.ones(2, 3))
    with pytest.raises(ModelError, match="compensators already"):
        compensate(corrected, torch.ones(2, 3), where=["0"])
    with pytest.raises(ModelError, match="no layer that can be compensated"):
        compensate(nn.Linear(3, 2), torch.ones(2, 3))
