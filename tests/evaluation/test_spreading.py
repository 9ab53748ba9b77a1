"""Chips measured in blocks, by several workers or one after the other, are those of one evaluation."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.errors import ConfigError
from everychip.evaluation.draws import Draws
from everychip.evaluation.spreading import blocks_of, spread
from everychip.progress import Event

HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.2))
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers of evaluate are forks of Linux")


class Noisy(nn.Module):
    """Draws numbers in evaluation, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * torch.randn_like(x)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Layers that a class here, which no other process could import, is part of."""
    generator = ec.rng_for(0, "net")
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Noisy(), nn.Flatten(), nn.Linear(256, 10)
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(120, 1, 8, 8, generator=ec.rng_for(0, "x"))
    return x, torch.arange(120) % 10


def same(one: Draws, other: Draws) -> bool:
    """Every score of every chip to the bit, and all that is said of them."""
    about = ("seed", "images", "whole_test", "until", "treatment", "purpose", "cells", "digital", "setting")
    assert list(one.scores) == list(other.scores)
    return (
        all(torch.equal(one.scores[name], other.scores[name]) for name in one.scores)
        and torch.equal(one.chip, other.chip)
        and all(getattr(one, name) == getattr(other, name) for name in about)
    )


ASKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "images": {"images": 30},
    "fewer chips than workers": {"chips": 1},
    "a score of one's own": {
        "score": lambda prediction, y: float((prediction.argmax(-1) == y).double().mean())
    },
    "batch norm measured on each chip": {"mitigation": {"kind": "bn_recalibration", "images": 50}},
    "low-rank layers trained on each chip": {"mitigation": {"kind": "dora", "images": 40, "steps": 3}},
    "verified cells": {"mitigation": {"kind": "selective_write_verify", "fraction": 0.3, "images": 40}},
    "bfloat16": {"precision": "bfloat16"},
    "until": {"chips": 400, "until": "±2 failures 10 %"},
    "two stages": {"chips": 400, "until": "±2 two-stage failures 10 %"},
    "until, not reached": {"chips": 40, "until": "±0.1 failures 10 %"},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=list(ASKED))
def test_two_workers_give_the_draws_of_one_to_the_bit(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor], asked: dict[str, Any]
) -> None:
    asked = {"chips": 13, "seed": 4, "calibration": data} | asked
    serial = ec.evaluate(net, HARDWARE, data, **asked)
    assert same(ec.evaluate(net, HARDWARE, data, workers=2, **asked), serial)
    if "until" in asked and "not" not in str(asked):
        assert len(serial) <= asked["chips"]


def test_percentiles_and_yield_of_two_workers_are_those_of_one(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]
) -> None:
    verdicts = [
        str(ec.evaluate(net, HARDWARE, data, chips=80, workers=workers).verdict(target=0.1, k=5))
        for workers in (1, 2)
    ]
    assert "KPP5" in verdicts[0]
    assert verdicts[0] == verdicts[1]


def test_the_global_generator_and_the_model_are_left_as_they_were(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]
) -> None:
    state, weights = torch.get_rng_state(), {k: v.clone() for k, v in net.state_dict().items()}
    ec.evaluate(net, HARDWARE, data, chips=6, workers=2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(weights[k], v) and not v.is_shared() for k, v in net.state_dict().items())
    assert multiprocessing.active_children() == []


def test_blocks_measured_one_after_the_other_join_to_one_evaluation(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]
) -> None:
    whole = ec.evaluate(net, HARDWARE, data, chips=11, seed=2)
    parts = [
        ec.evaluate(net, HARDWARE, data, chips=count, first=first, seed=2)
        for first, count in ((4, 5), (0, 4), (9, 2))
    ]
    assert [part.digital is None for part in parts] == [True, False, True]
    assert same(Draws.join(parts), whole)


def test_a_stream_read_from_chip_7_on_has_the_same_chips(tmp_path: Path, net: nn.Module) -> None:
    x = torch.randn(60, 1, 8, 8, generator=ec.rng_for(0, "x"))
    stream = ec.data.Stream(
        lambda: iter([(x[:40], torch.arange(40) % 10), (x[40:], torch.arange(20) % 10)]), chips=2
    )
    whole = ec.evaluate(net, HARDWARE, stream, chips=10)
    parts = [ec.evaluate(net, HARDWARE, stream, chips=n, first=first) for first, n in ((0, 7), (7, 3))]
    assert same(Draws.join(parts), whole)


def test_an_error_of_a_chip_is_raised_as_in_one_process(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    class OddError(ValueError):
        pass

    def score(prediction: torch.Tensor, y: torch.Tensor) -> float:
        raise OddError("of its own kind")

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(OddError, match="of its own kind"):
        ec.evaluate(model, HARDWARE, data, chips=5, workers=2, score=score)
    assert multiprocessing.active_children() == []


def test_a_listener_hears_of_every_chip_in_order(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]
) -> None:
    heard: list[Event] = []
    draws = ec.evaluate(net, HARDWARE, data, chips=9, workers=2, progress=heard.append)
    assert [(event.done, event.total) for event in heard] == [(n, 9) for n in range(1, 10)]
    assert [event.values["accuracy"] for event in heard] == draws.accuracy.tolist()


def dying(place: Path, at: int, times: int) -> Callable[[range], Iterator[dict[str, float]]]:
    """Rows of chips, whose process is killed in the middle of a block, so many times."""

    def rows(numbers: range) -> Iterator[dict[str, float]]:
        for number in numbers:
            seen = len(list(place.glob("died-*")))
            if number == at and multiprocessing.parent_process() is not None and seen < times:
                (place / f"died-{seen}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (place / "measured").open("a") as file:
                file.write(f"{number}\n")
            yield {"accuracy": number / 7, "nan": float("nan")}

    return rows


def test_a_worker_killed_in_a_block_costs_that_block_and_no_chip_is_double(tmp_path: Path) -> None:
    found = list(spread(dying(tmp_path, at=33, times=1), range(100), workers=2))
    assert [row["accuracy"] for row in found] == [number / 7 for number in range(100)]
    measured = [int(line) for line in (tmp_path / "measured").read_text().split()]
    again = {number for number in measured if measured.count(number) > 1}
    block = next(block for block in blocks_of(range(100), workers=2) if 33 in block)
    assert again == set(block[: block.index(33)])
    assert multiprocessing.active_children() == []


def test_a_block_that_kills_two_workers_ends_the_evaluation_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"workers = 2: found that chips 28 … 34 ended their worker 2 times .*-9"
    ):
        list(spread(dying(tmp_path, at=33, times=2), range(100), workers=2))
    assert multiprocessing.active_children() == []


def test_what_was_measured_ahead_of_a_rule_is_little(tmp_path: Path) -> None:
    rows = spread(dying(tmp_path, at=-1, times=0), range(10_000), workers=2)
    assert next(rows)["accuracy"] == 0
    time.sleep(0.5)
    rows.close()  # type: ignore[attr-defined]
    measured = (tmp_path / "measured").read_text().split()
    assert len(measured) <= 50 * 2 * 2


@pytest.mark.parametrize(("chips", "workers"), [(1, 1), (1, 64), (7, 3), (1000, 2), (50, 1)])
def test_blocks_are_the_chips_in_order_and_several_for_each_worker(chips: int, workers: int) -> None:
    blocks = blocks_of(range(3, 3 + chips), workers=workers)
    assert [chip for block in blocks for chip in block] == list(range(3, 3 + chips))
    assert len(blocks) >= min(chips, workers)
    assert max(map(len, blocks)) <= 50


ORPHAN = """
import os, sys, time, torch, everychip as ec
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
def slow(prediction, y):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece, as two processes write
    time.sleep(0.2)
    return 0.5
data = torch.randn(20, 64), torch.zeros(20, dtype=torch.long)
hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
ec.evaluate(model, hw, data, chips=1000, workers=2, score=slow)
"""


@pytest.mark.slow
def test_workers_end_with_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers: set[int] = set()
        while len(workers - {parent.pid}) < 2:
            workers.add(int(parent.stdout.readline()))
        parent.kill()
        left = workers - {parent.pid}
        for _ in range(100):
            left = {worker for worker in left if Path(f"/proc/{worker}").exists() and _runs(worker)}
            if not left:
                break
            time.sleep(0.1)
        assert left == set()


def _runs(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split()[2]
    except OSError:
        return False


def test_what_cannot_be_forked_is_refused_in_one_line(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]
) -> None:
    torch.set_num_threads(2)
    with pytest.raises(ConfigError, match=r"workers = 2: found 2 threads of PyTorch; .*set_num_threads\(1\)"):
        ec.evaluate(net, HARDWARE, data, chips=2, workers=2)
    torch.set_num_threads(1)
    stream = ec.data.Stream(lambda: iter([data]))
    with pytest.raises(ConfigError, match=r"workers = 2: found a stream"):
        ec.evaluate(net, HARDWARE, stream, chips=2, workers=2)
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ConfigError, match=r"workers"):
            ec.evaluate(net, HARDWARE, data, chips=2, workers=wrong)
    with pytest.raises(ConfigError, match=r"first"):
        ec.evaluate(net, HARDWARE, data, chips=2, first=-1)
    with pytest.raises(ConfigError, match=r"evaluate\.first: found 5 beside until"):
        ec.evaluate(net, HARDWARE, data, chips=400, first=5, until="±1")


def test_rows_travel_to_the_bit() -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, float("inf"), float("nan"), -0.0]

    def rows(numbers: range) -> Iterator[dict[str, float]]:
        return ({"value": values[number]} for number in numbers)

    found = [row["value"] for row in spread(rows, range(len(values)), workers=2)]
    assert [value.hex() for value in found] == [value.hex() for value in values]
    assert json.dumps(found) == json.dumps(values)
