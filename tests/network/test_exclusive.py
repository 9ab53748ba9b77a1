"""Threads that use one model, or models that share a part, take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import everychip as ec
from everychip.data import Arrays
from everychip.rng import rng_for, seeded_global_generator
from everychip.training.loop import Training, train

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.3), mapping=ec.mapping.Direct())
X, Y = torch.randn(256, 8, generator=rng_for(0, "x")), torch.arange(256) % 4


def deep() -> nn.Module:
    with seeded_global_generator(0, "deep"):
        layers = [nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5)) for _ in range(6)]
        return nn.Sequential(nn.Linear(8, 128), *layers, nn.Linear(128, 4))


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    found: list[Any] = [None] * len(jobs)

    def work(n: int) -> None:
        found[n] = jobs[n]()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def evaluated(model: nn.Module, seed: int) -> list[float]:
    return ec.evaluate(model, HW, (X, Y), chips=8, seed=seed).nll.tolist()


def test_threads_that_evaluate_one_model_or_share_a_part_of_it_find_what_each_finds_alone() -> None:
    model = deep().train()
    wrapped = nn.Sequential(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    alone = [evaluated(model, 0), evaluated(wrapped, 1), evaluated(model, 2)]
    assert (
        at_once(
            lambda: evaluated(model, 0),
            lambda: evaluated(wrapped, 1),
            lambda: evaluated(model, 2),
        )
        == alone
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_a_thread_that_programs_while_another_evaluates_programs_the_models_own_weights() -> None:
    model = deep()
    expected = ec.program(model, HW, seed=1, chip=0)["0.weight"]

    def programmed() -> list[Tensor]:
        return [ec.program(model, HW, seed=1, chip=0)["0.weight"] for _ in range(40)]

    _, found = at_once(lambda: evaluated(model, 0), programmed)
    assert all(torch.equal(weight, expected) for weight in found)


def test_a_model_that_is_trained_is_evaluated_after_its_training() -> None:
    def trained(model: nn.Module) -> nn.Module:
        method, steps = ec.methods.NoiseInjection(), Training(epochs=2, batch_size=32)
        return train(model, method, Arrays(X, Y), hardware=HW, training=steps, seed=0).model

    expected = trained(deep()).state_dict()
    model = deep()
    at_once(lambda: trained(model), lambda: evaluated(model, 0))
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
