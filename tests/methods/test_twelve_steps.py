"""Twelve steps of the published methods are those of a literal re-implementation: losses, gradients, all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from reference.negative_feedback_training import Literal
from torch.nn.modules.batchnorm import _BatchNorm

import everychip as ec
from everychip import methods
from everychip.rng import rng_for

STEPS, BATCH, SEED = 12, 16, 5
HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.4))
ARMS = {
    "base": (methods.NoiseInjection(), "base", 0.0),
    "irs 0.01": (methods.IRS(beta=0.01, positions="paper", hidden=16), "irs", 0.01),
    "irs 0.1": (methods.IRS(beta=0.1, positions="paper", hidden=16), "irs", 0.1),
    "irs 0.1, frozen": (methods.IRS(beta=0.1, positions="paper", hidden=16, frozen=True), "irs", 0.1),
    "ovf": (methods.OVF(beta=1e-3), "ovf", 1e-3),
    "ovf (backbone)": (methods.OVF(beta=0.1, batch_norm="backbone"), "ovf_backbone", 0.1),
}


def network():
    return ec.models.VGG8(width=2).build((1, 16, 16), 4, seed=SEED).double()


@pytest.fixture
def batches():
    rng = rng_for(0, "batches")
    return [
        (
            torch.randn(BATCH, 1, 16, 16, generator=rng, dtype=torch.float64),
            torch.randint(4, (BATCH,), generator=rng),
        )
        for _ in range(STEPS)
    ]


def literal_of(objective, **fields):
    model = objective.model
    heads = dict(objective.exits.named_parameters()) if objective.exits is not None else {}
    running = {n: b for n, b in model.named_buffers() if "running" in n}
    return Literal(dict(model.named_parameters()), running, heads, seed=SEED, **fields)


@pytest.mark.parametrize("arm", ARMS)
def test_twelve_steps_are_those_of_the_papers_equations(arm, batches):
    method, kind, beta = ARMS[arm]
    objective = method.bind(network(), HARDWARE, seed=SEED, sample=batches[0][0][:2])
    literal = literal_of(objective, frozen=getattr(method, "frozen", False))
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    objective.train()
    for x, y in batches:
        loss = objective(x, y)
        optimizer.zero_grad()
        loss.backward()
        expected, gradients = literal.train(x, y, kind=kind, beta=beta)
        assert float(loss.detach()) == pytest.approx(expected, abs=1e-6, rel=1e-6)
        for name, p in objective.named_parameters():
            if p.requires_grad:
                torch.testing.assert_close(p.grad, gradients[name], rtol=1e-6, atol=1e-6)
        optimizer.step()
        objective.after_step()
    for name, p in objective.named_parameters():
        of, _, rest = name.partition(".")
        want = (literal.weights if of == "model" else literal.exits)[rest]
        torch.testing.assert_close(p.detach(), want.detach(), rtol=1e-6, atol=1e-6)
    for name, b in literal.running.items():
        torch.testing.assert_close(objective.model.get_buffer(name), b, rtol=1e-6, atol=1e-6)


def test_the_papers_exits_start_as_the_authors_do_and_others_as_pytorch_does(batches):
    x = batches[0][0]
    for positions, init, deep in (
        ("paper", "auto", True),
        ("paper", "default", False),
        ("auto", "auto", False),
    ):
        exits = methods.IRS(positions=positions, init=init, hidden=256).exits(network(), x[:2], seed=0)
        for head in exits.heads.values():
            std = float(head.hidden.weight.detach().std())
            fan_out = (2 / 256) ** 0.5
            uniform = 1 / (3 * head.hidden.in_features) ** 0.5
            assert std == pytest.approx(fan_out if deep else uniform, rel=0.1)
            assert bool((head.hidden.bias == 0).all()) is deep


def test_with_the_authors_start_feedback_is_no_rounding_error(batches):
    """At width 16 and 16 pixels the exits' logits are 24 times as large as with PyTorch's start."""
    x = batches[0][0]
    spread = {}
    for init in ("fan_out", "default"):
        model = ec.models.VGG8(width=16).build((1, 16, 16), 10, seed=0).double()
        exits = methods.IRS(positions="paper", init=init).exits(model, x[:2], seed=0)
        with exits.tap(model) as taps:
            model(x)
        spread[init] = min(float(z.detach().std()) for z in exits.logits(taps))
    assert spread["fan_out"] / spread["default"] == pytest.approx(24, rel=0.03)


@pytest.mark.parametrize("kind", ["vgg8", "resnet18"])
def test_the_published_temperature_is_the_number_of_exits_plus_one(kind):
    model = ec.models.Model.parse({"kind": kind, "width": 4}).build((3, 16, 16), 10)
    x = torch.zeros(2, 3, 16, 16)
    exits = methods.IRS(positions="paper", hidden=8).exits(model, x, seed=0)
    assert len(exits.positions) + 1 == {"vgg8": 4, "resnet18": 5}[kind]
    z = torch.randn(3, 10, generator=rng_for(0))
    feedback = [torch.zeros_like(z) for _ in exits.positions]
    torch.testing.assert_close(
        methods.losses.negative_feedback(z, feedback, beta=0.1), z / (len(feedback) + 1)
    )


def test_t_bn_moves_the_statistics_as_ovf_does_and_learns_as_temperature(batches):
    x, y = batches[0]
    moved, gradients = {}, {}
    for name, method in {
        "t": methods.Temperature(),
        "t+bn": methods.TemperatureStatistics(),
        "ovf": methods.OVF(beta=0.0),
    }.items():
        objective = method.bind(network(), HARDWARE, seed=SEED, sample=x[:2])
        objective.train()
        objective(x, y).backward()
        norms = [m for m in objective.model.modules() if isinstance(m, _BatchNorm)]
        moved[name] = [n.running_var.clone() for n in norms]
        gradients[name] = [p.grad for p in objective.model.parameters()]
    for a, b, c in zip(*moved.values(), strict=True):
        torch.testing.assert_close(b, c)
        assert not torch.allclose(a, b)
    for a, b in zip(gradients["t"], gradients["t+bn"], strict=True):
        torch.testing.assert_close(a, b)


def test_frozen_exits_feed_back_and_do_not_move(batches):
    x, y = batches[0]
    method = methods.IRS(beta=0.5, positions="paper", hidden=16, frozen=True)
    objective = method.bind(network(), HARDWARE, seed=SEED, sample=x[:2])
    objective(x, y).backward()
    assert all(p.grad is None for p in objective.exits.parameters())
    free = methods.IRS(beta=0.5, positions="paper", hidden=16).bind(
        network(), HARDWARE, seed=SEED, sample=x[:2]
    )
    free(x, y).backward()
    fed = objective.model.block1.conv.weight.grad
    torch.testing.assert_close(fed, free.model.block1.conv.weight.grad)
    none = methods.Temperature().bind(network(), HARDWARE, seed=SEED, sample=x[:2])
    none(x, y).backward()
    assert float((fed - none.model.block1.conv.weight.grad).norm() / fed.norm()) > 0.01


def test_deep_supervision_at_a_temperature_divides_every_output(batches):
    x, y = batches[0]
    z, z1 = torch.randn(2, BATCH, 4, generator=rng_for(1), dtype=torch.float64)
    method = methods.DeepSupervision(coefficient=0.5, temperature=4.0)

    class Two(methods.DeepSupervision, kind="two_outputs_of_a_test"):
        def all_logits(self, objective, x):
            return z, [z1]

    expected = torch.nn.functional.cross_entropy(z / 4, y) + 0.5 * torch.nn.functional.cross_entropy(
        z1 / 4, y
    )
    objective = SimpleNamespace(criterion=torch.nn.functional.cross_entropy)
    found = Two(weight=0.5, temperature=4.0).loss(objective, x, y)
    assert method.temperature == 4.0
    torch.testing.assert_close(found, expected)
