"""Embedding: its loss written out, Recall@1 by scikit-learn, and what needs labels says so."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import everychip as ec
from everychip import rng_for, tasks
from everychip.errors import DataError

X = torch.randn(90, 6, generator=rng_for(0))
Y = X[:, :3].argmax(1)
HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))


@pytest.fixture
def model() -> nn.Module:
    with ec.rng.seeded_global_generator(0, "test"):
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))


def test_the_loss_is_the_equation_of_the_paper() -> None:
    z, y, tau = (
        torch.randn(12, 5, generator=rng_for(1)),
        torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 0, 1, 2, 4]),
        0.2,
    )
    u = z / z.norm(dim=1, keepdim=True)
    parts = []
    for i in range(12):
        others = [a for a in range(12) if a != i]
        alike = [p for p in others if y[p] == y[i]]
        if alike:
            below = sum(math.exp(float(u[i] @ u[a]) / tau) for a in others)
            parts.append(
                sum(-math.log(math.exp(float(u[i] @ u[p]) / tau) / below) for p in alike) / len(alike)
            )
    found = tasks.Embedding(temperature=tau).loss(z, y)
    assert float(found) == pytest.approx(sum(parts) / len(parts), rel=1e-5)


def test_a_batch_of_strangers_has_no_loss_and_finite_gradients() -> None:
    z = torch.randn(4, 5, generator=rng_for(2)).requires_grad_()
    loss = tasks.Embedding().loss(z, torch.arange(4))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_with_vectors_as_targets_the_loss_is_one_less_cosine() -> None:
    z, v = torch.randn(7, 5, generator=rng_for(3)), torch.randn(7, 5, generator=rng_for(4))
    expected = 1 - F.cosine_similarity(z, v).mean()
    assert torch.allclose(tasks.Embedding().loss(z, v), expected)


def test_recall_is_that_of_scikit_learns_nearest_neighbour(model: nn.Module) -> None:
    draws = ec.evaluate(model, HW, (X, Y), task=tasks.Embedding(score="recall"), chips=3)
    for chip in range(3):
        programmed = ec.program(model, HW, seed=0, chip=chip)
        vectors = F.normalize(torch.func.functional_call(model, programmed, (X,))).detach().numpy()
        right = 0
        for i in range(len(X)):
            others = [j for j in range(len(X)) if j != i]
            nearest = KNeighborsClassifier(n_neighbors=1).fit(vectors[others], Y[others])
            right += int(nearest.predict(vectors[i : i + 1])[0] == int(Y[i]))
        assert float(draws.recall[chip]) == pytest.approx(right / len(X), abs=1.5 / len(X))
    assert draws.digital is not None
    assert set(draws.scores) == {"retrieval", "cosine", "recall"}


def test_training_brings_neighbours_together(model: nn.Module) -> None:
    task = tasks.Embedding(score="recall")
    before = ec.evaluate(model, HW, (X, Y), task=task, chips=10).recall.mean()
    how = {"hardware": HW, "epochs": 30, "batch_size": 30, "lr": 0.01}
    model = ec.fit(model, "noise_injection", (X, Y), task=task, **how)  # type: ignore[arg-type]
    assert ec.evaluate(model, HW, (X, Y), task=task, chips=10).recall.mean() > before + 0.05


def test_recall_and_training_without_labels_are_refused_in_one_line(model: nn.Module) -> None:
    for call in (
        lambda: ec.evaluate(model, HW, X, task=tasks.Embedding(score="recall"), chips=1),
        lambda: ec.fit(model, "vanilla", X, task="embedding", hardware=HW, epochs=1),
        lambda: ec.fit(model, "vanilla", (X, X[:, :2]), task="embedding", hardware=HW, epochs=1),
    ):
        with pytest.raises(DataError) as error:
            call()
        assert "\n" not in str(error.value)


def test_chance_of_recall_is_that_two_inputs_share_a_label() -> None:
    y = torch.tensor([0] * 6 + [1] * 4)
    assert tasks.Embedding(score="recall").chance(y) == pytest.approx(0.36 + 0.16)
    assert tasks.Embedding().chance(y) is None
