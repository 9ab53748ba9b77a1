"""Several chips in one call answer as they do one by one, and what cannot be run so is refused."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.array import Array
from everychip.data.stream import Stream
from everychip.errors import ConfigError, ModelError
from everychip.evaluation.at_once import TRIED, WORTH, run_together
from everychip.evaluation.bench import Asked, Bench
from everychip.hardware.chip import run
from everychip.network import vectorised as compiling
from everychip.network.vectorised import vectorised
from everychip.study.experiment import Evaluation, Experiment

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))


class Tied(nn.Module):
    """One matrix in two layers, batch norm, two inputs by name, and an answer in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.two.weight = self.one.weight
        self.out = nn.Linear(6, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.norm(self.two(self.one(a).relu()) + b)
        return {"hidden": h, "logits": self.out(h.relu())}


def images(n: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 1, 8, 8, generator=ec.rng_for(1)), torch.arange(n) % 3


def named(n: int = 70) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    draw = torch.randn(2, n, 6, generator=ec.rng_for(2))
    return {"a": draw[0], "b": draw[1]}, torch.arange(n) % 3


def lenet() -> nn.Module:
    return ec.models.LeNet().build((1, 8, 8), 3, seed=0)


CASES = {
    "convolutions": (lenet, images),
    "tied weights, two inputs": (Tied, named),
    "recurrent": (lambda: ec.models.GRU(hidden=8).build((1, 8, 8), 3, seed=0), images),
    "exits": (lambda: ec.MultiExit(lenet(), images(2)[0], pool=1), images),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("at_once", [2, 4])
def test_chips_in_one_call_are_those_one_by_one(case, at_once) -> None:
    build, data = case
    how = {"chips": 7, "seed": 3, "batch_size": 30}  # the last call is not full, nor is the last batch
    alone = ec.evaluate(build_once := build(), HARDWARE, data(), **how)
    together = ec.evaluate(build_once, HARDWARE, data(), at_once=at_once, **how)
    torch.testing.assert_close(together.accuracy, alone.accuracy, atol=0.02, rtol=0)
    torch.testing.assert_close(together.nll, alone.nll, rtol=1e-5, atol=1e-6)
    assert together.digital == alone.digital
    assert len(together) == len(alone) == 7


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_tasks_score_each_chip_of_a_call(task) -> None:
    model, (x, _) = lenet(), images()
    y = torch.randint(2, (len(x), 3), generator=ec.rng_for(4)).float()
    how = {"chips": 6, "task": task, "batch_size": 30}
    alone = ec.evaluate(model, HARDWARE, (x, y), **how)
    together = ec.evaluate(model, HARDWARE, (x, y), at_once=4, **how)
    assert together.scores.keys() == alone.scores.keys()
    for name, values in alone.scores.items():
        torch.testing.assert_close(together.scores[name], values, rtol=1e-5, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = lenet().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ec.evaluate(model, HARDWARE, images(), chips=5, at_once=4)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_workers_and_rules_of_stopping_find_the_same_chips() -> None:
    model, data = lenet(), images()
    serial = ec.evaluate(model, HARDWARE, data, chips=12, at_once=4)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = ec.evaluate(model, HARDWARE, data, chips=12, at_once=4)
        spread = ec.evaluate(model, HARDWARE, data, chips=12, at_once=4, workers=2)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(spread.nll, one.nll, rtol=1e-6, atol=1e-7)
    stopped = ec.evaluate(model, HARDWARE, data, chips=400, until="±20", at_once=4)
    torch.testing.assert_close(stopped.nll[:12], serial.nll, rtol=1e-6, atol=1e-7)


def test_what_is_done_to_each_chip_is_done_to_each() -> None:
    model, (x, y) = Tied(), named()
    how = {"chips": 5, "mitigation": {"kind": "bn_recalibration", "images": 70}, "calibration": (x, y)}
    alone = ec.evaluate(model, HARDWARE, (x, y), **how)
    together = ec.evaluate(model, HARDWARE, (x, y), at_once=3, **how)
    torch.testing.assert_close(together.nll, alone.nll, rtol=1e-5, atol=1e-6)


class Drawing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.out(x.flatten(1)), 0.5, training=True)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.out(x.flatten(1))
        return z if z.sum() > 0 else -z


REFUSED = {
    "tiles": (lenet, {}, HARDWARE.replace(array=Array(rows=64, columns=64)), "tiles of an array"),
    "draws in evaluation": (Drawing, {}, HARDWARE, "vmap cannot run"),
    "a branch": (Branching, {}, HARDWARE, "vmap cannot run"),
    "images": (lenet, {"images": 20}, HARDWARE, "images of its own for each chip"),
    "a score": (lenet, {"score": lambda z, y: float(z.mean())}, HARDWARE, "a score of one's own"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_run_together_is_one_line_and_auto_runs_it_alone(case) -> None:
    build, how, hardware, words = case
    model = build()
    with pytest.raises(ConfigError, match=rf"evaluate\.at_once: found 3 beside .*{words}.*; expected 1"):
        ec.evaluate(model, hardware, images(), chips=4, at_once=3, **how)
    alone = ec.evaluate(model, hardware, images(), chips=4, **how)
    auto = ec.evaluate(model, hardware, images(), chips=4, at_once="auto", **how)
    assert torch.equal(auto.scores[auto.score.name], alone.scores[alone.score.name])


class Large(nn.Module):
    """A network for whose whole batch there is no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 2:
            raise RuntimeError("not enough memory")
        return self.out(x.flatten(1))


def test_what_fails_after_the_trial_is_one_line_too() -> None:
    with pytest.raises(
        ModelError, match=r"several chips in one call: found .*not enough memory; .*at_once = 1"
    ):
        ec.evaluate(Large(), HARDWARE, images(), chips=4, at_once=2)


def test_a_stream_is_refused() -> None:
    x, y = images(40)
    with pytest.raises(ConfigError, match=r"evaluate\.at_once: found 2 beside a stream"):
        ec.evaluate(lenet(), HARDWARE, Stream([(x[:20], y[:20]), (x[20:], y[20:])]), chips=2, at_once=2)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "many", True])
def test_a_number_of_chips_or_auto_is_expected(wrong) -> None:
    with pytest.raises(ConfigError, match=r"at_once: found .*at least 1 and at most 1000; or \"auto\""):
        ec.evaluate(lenet(), HARDWARE, images(), chips=2, at_once=wrong)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 4: 3.5, 16: 12.0}, 16), ({1: 1.0, 4: 3.5, 16: 16.0}, 4), ({1: 1.0, 4: 3.9, 16: 1.0}, 1)],
)
def test_auto_takes_more_chips_while_they_are_clearly_faster(monkeypatch, seconds, chosen) -> None:
    monkeypatch.setattr("everychip.evaluation.at_once._seconds", lambda _b, _p, number, **_: seconds[number])
    assert TRIED == (4, 16)
    assert WORTH == 0.9
    bench = Asked.of().bench(lenet(), images())
    assert run_together(bench, dict, "auto", seed=0, purpose="evaluate").at_once == chosen


def test_a_compiled_network_is_compiled_once_for_all_evaluations_and_may_go(monkeypatch) -> None:
    made, model = [], lenet()

    def compile_(call, **_):
        made.append(call)
        return call

    monkeypatch.setattr(compiling.torch, "compile", compile_)
    monkeypatch.setattr(compiling, "is_compiled", lambda model: True)
    for _ in range(3):
        ec.evaluate(model, HARDWARE, images(), chips=5, at_once=2)
    assert len(made) == 1
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_the_forward_of_several_chips_is_that_of_each() -> None:
    model, (x, _) = lenet().eval(), images(5)
    chips = [ec.program(model, HARDWARE, seed=0, chip=k) for k in range(3)]
    with torch.no_grad():
        z = vectorised(model)({name: torch.stack([c[name] for c in chips]) for name in chips[0]}, x)
        for chip, own in zip(chips, z, strict=True):
            torch.testing.assert_close(own, run(model, chip, x), rtol=1e-5, atol=1e-5)


def test_one_chip_at_a_time_tries_nothing(monkeypatch) -> None:
    monkeypatch.setattr(Bench, "_together", None)
    assert len(ec.evaluate(lenet(), HARDWARE, images(), chips=3)) == 3


def test_a_recipe_asks_for_no_larger_call_than_it_has_chips() -> None:
    """A larger one would be filled with copies of the last chip."""
    assert Evaluation(chips=30, at_once=30).at_once == 30
    asked = {"chips": 30, "at_once": 31}
    recipe = {"data": "digits", "model": "lenet", "method": "noise_injection", "evaluation": asked}
    with pytest.raises(ConfigError, match=r"at_once: found 31, of 30 chips; expected at most as many"):
        Experiment.read(recipe, where="recipe")
    for beside in ({"images": 40}, {"until": "±3 two-stage"}):
        with pytest.raises(ConfigError, match=r"at_once: found 4 beside images of its own for each chip"):
            Evaluation.read({"chips": 30, "at_once": 4, **beside}, where="evaluation")
    with pytest.raises(ConfigError, match=r"at_once.*1001"):
        ec.evaluate(lenet(), HARDWARE, images(), chips=2, at_once=1001)
