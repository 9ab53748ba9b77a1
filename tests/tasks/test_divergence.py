"""How far two networks' answers are apart in the terms of each task, and the methods that train by it."""

from __future__ import annotations

import pytest
import torch
from scipy.special import rel_entr
from torch import nn

import everychip as ec
from everychip.errors import ConfigError
from everychip.tasks import Task

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
RNG = ec.rng_for(7)


def draw(*shape):
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


def softmax(z, temperature):
    e = (z / temperature).exp()
    return e / e.sum(-1, keepdim=True)


def kl(true, other, temperature):
    """Σ p·ln(p/q) row by row, by scipy, and their mean."""
    p, q = (softmax(x, temperature).detach().numpy() for x in (true, other))
    return float(rel_entr(p, q).sum(-1).mean())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_classification_and_labels_by_scipy(temperature):
    t, z = draw(6, 4), draw(6, 4)
    found = Task.parse("classification").divergence(t, z, temperature=temperature)
    assert float(found) == pytest.approx(kl(t, z, temperature))
    pairs = [torch.stack([x, torch.zeros_like(x)], -1).reshape(-1, 2) for x in (t, z)]
    found = Task.parse("multilabel").divergence(t, z, temperature=temperature)
    assert float(found) == pytest.approx(kl(*pairs, temperature))


@pytest.mark.parametrize("ignored", [False, True])
def test_segmentation_leaves_out_what_is_not_labelled(ignored):
    t, z, y = draw(2, 3, 4, 4), draw(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)
    places = [(n, i, j) for n in range(2) for i in range(4) for j in range(4)]
    if ignored:
        y[1, 2:] = -100
        places = [(n, i, j) for n, i, j in places if not (n == 1 and i >= 2)]
    rows = [torch.stack([x[n, :, i, j] for n, i, j in places]) for x in (t, z)]
    found = Task.parse("segmentation").divergence(t, z, y, temperature=2.0)
    assert float(found) == pytest.approx(kl(*rows, 2.0))


@pytest.mark.parametrize("causal", [False, True])
def test_tokens_leave_out_what_is_not_scored(causal):
    t, z, y = draw(2, 5, 3), draw(2, 5, 3), torch.ones(2, 5, dtype=torch.long)
    y[0, 3] = -100
    # A causal answer at i is scored by the token at i + 1; the last one by none.
    last = 4 if causal else 5
    places = [(n, i) for n in range(2) for i in range(last) if y[n, i + causal] != -100]
    rows = [torch.stack([x[n, i] for n, i in places]) for x in (t, z)]
    found = Task.parse({"kind": "tokens", "causal": causal}).divergence(t, z, y)
    assert float(found) == pytest.approx(kl(*rows, 1.0))


def test_regression_by_its_squares_whatever_the_temperature():
    t, z = draw(6, 2), draw(6, 2)
    found = Task.parse("regression").divergence(t, z, temperature=5.0)
    assert float(found) == pytest.approx(float(((t - z) ** 2).mean()))


@pytest.mark.parametrize("kind", ["embedding", "detection"])
def test_tasks_without_such_a_distance_say_so_in_one_line(kind):
    with pytest.raises(ConfigError, match="no distance between the answers of two networks") as caught:
        Task.parse(kind).divergence(draw(2, 2), draw(2, 2))
    assert "\n" not in str(caught.value)


X = torch.randn(12, 6, generator=ec.rng_for(1))
TARGETS = {
    "classification": (3, torch.arange(12) % 3),
    "multilabel": (3, (X[:, :3] > 0).float()),
    "regression": (2, X[:, :2]),
}


@pytest.mark.parametrize("task", TARGETS)
def test_self_distillation_is_its_equation_with_the_start_as_teacher(task):
    width, y = TARGETS[task]
    model = nn.Linear(6, width)
    start = [p.detach().clone() for p in model.parameters()]
    method = ec.methods.Distillation(
        teacher_share=0.0, hard_share=0.3, temperature=2.0, constraint=ec.constraints.Clip(alpha=1.0)
    )
    objective = method.bind(model, HW, task=task, seed=3)  # no length of training is needed
    assert not torch.equal(model.weight, start[0])  # the constraint has clipped the student, not the teacher
    for _ in range(2):
        t, z = X @ start[0].T + start[1], X @ objective.chip()["weight"].T + model.bias
        if task == "regression":
            hard, soft = ((z - y) ** 2).mean(), float(((z - t) ** 2).mean().detach())
        elif task == "multilabel":
            hard = nn.functional.binary_cross_entropy_with_logits(z, y)
            pairs = [torch.stack([v, torch.zeros_like(v)], -1).reshape(-1, 2) for v in (t, z)]
            soft = 4 * kl(*pairs, 2.0)
        else:
            hard, soft = nn.functional.cross_entropy(z, y), 4 * kl(t, z, 2.0)
        loss = objective(X, y)
        assert float(loss.detach()) == pytest.approx(0.3 * float(hard.detach()) + 0.7 * float(soft), rel=1e-4)
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(0.1 * p.grad)
                p.grad = None
        objective.after_step()
    assert ec.methods.Distillation(teacher_share=0.0).forwards == pytest.approx(4 / 3)


@pytest.mark.parametrize("task", TARGETS)
def test_adversarial_weights_leave_along_the_tasks_own_divergence(task):
    width, y = TARGETS[task]
    model = nn.Linear(6, width, bias=False)
    method = ec.methods.AdversarialWeight(noise=False, beta=0.5, attack_steps=1, start=1e-6, reach=0.2)
    objective = method.bind(model, HW, task=task)
    asked = Task.parse(task)
    clean = X @ model.weight.T
    [offsets] = objective.method.attack(objective, X, clean.detach(), y).values()
    assert bool((offsets.abs() > 0.9).all())  # one step of sign ascent goes to the bound
    worst = model.weight + 0.2 * model.weight.abs().max() * offsets
    wanted = asked.loss(clean, y) + 0.5 * asked.divergence(clean, X @ worst.T)
    assert torch.allclose(objective(X, y), wanted, rtol=1e-4)


@pytest.mark.parametrize("kind", ["temperature", "temperature_statistics"])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_the_control_divides_logits_of_any_task(kind, task):
    width, y = TARGETS[task]
    model = nn.Linear(6, width)
    objective = ec.methods.Method.parse({"kind": kind, "temperature": 4.0}).bind(model, HW, task=task)
    z = X @ objective.chip()["weight"].T + model.bias
    assert torch.allclose(objective(X, y), Task.parse(task).loss(z / 4, y), rtol=1e-5)
