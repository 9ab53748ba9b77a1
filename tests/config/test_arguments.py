"""A wrong argument of any public function is named as that function's, whoever finds it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import everychip as ec
from everychip.errors import ConfigError, EverychipError, SampleSizeError
from everychip.evaluation.disagreement import disagreement
from everychip.evaluation.worst_case import worst_case_search
from everychip.exits import attach
from everychip.methods import compensate
from everychip.training.search import search

GENERATOR = torch.Generator().manual_seed(0)
MODEL = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
X = torch.randn(32, 4, generator=GENERATOR)
DATA = (X, torch.arange(32) % 2)
HARDWARE = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
ARRAY = HARDWARE.replace(array=ec.Array(dac_bits=8))
ON_CHIPS = {"model": MODEL, "hardware": HARDWARE, "data": DATA}
DRAWS = ec.Draws.of(
    [{"accuracy": 0.9, "nll": 0.1, "brier": 0.1, "ece": 0.1, "confidence": 0.9}] * 2, seed=0, images=9
)

PUBLIC: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "evaluate": (ec.evaluate, {**ON_CHIPS, "chips": 2}),
    "sensitivity": (ec.sensitivity, {**ON_CHIPS, "chips": 2}),
    "break_even": (ec.break_even, {**ON_CHIPS, "chips": 2, "drop": "1 point"}),
    "disagreement": (disagreement, {**ON_CHIPS, "chips": 2}),
    "worst_case_search": (worst_case_search, {**ON_CHIPS, "th": 0.1, "steps": 1, "restarts": 1}),
    "search": (
        search,
        {
            **ON_CHIPS,
            "method": ec.methods.Vanilla(),
            "grid": {},
            "chips": 1,
            "epochs": 1,
            "validation_chips": 1,
        },
    ),
    "fit": (ec.fit, {**ON_CHIPS, "method": "vanilla", "epochs": 1, "validation_chips": 1}),
    "fitted": (ec.fitted, {**ON_CHIPS, "method": "vanilla", "epochs": 1, "validation_chips": 1}),
    "chips": (ec.chips, {"model": MODEL, "hardware": HARDWARE}),
    "program": (ec.program, {"model": MODEL, "hardware": HARDWARE, "seed": 0, "chip": 0}),
    "run": (ec.run, {"model": MODEL, "chip": {}, "x": X}),
    "effective_sigma": (ec.effective_sigma, {"model": MODEL, "hardware": HARDWARE}),
    "calibrate": (ec.calibrate, {**ON_CHIPS, "hardware": ARRAY}),
    "check": (ec.check, {"model": MODEL, "hardware": HARDWARE}),
    "compare": (ec.compare, {"a": [0.5, 0.6], "b": [0.4, 0.5]}),
    "verdict": (DRAWS.verdict, {}),
    "rng_for": (ec.rng_for, {"seed": 0}),
    "attach": (attach, {"model": MODEL, "sample": X[:2]}),
    "compensate": (compensate, {"model": MODEL, "sample": X[:2]}),
    "bind": (ec.methods.Vanilla().bind, {"model": MODEL, "hardware": HARDWARE}),
}
WRONG = [0, -1, 1.5, "a", object(), math.nan, math.inf, None, [], {}, True]
NOT_OURS = {("run", "x"), ("rng_for", "device"), ("bind", "sample")}
"""What a model takes and a method may ignore, and what PyTorch itself refuses."""
SPEAKS_FOR = {
    ("break_even", "target"): "break_even",  # one of the two, or neither
    ("break_even", "drop"): "break_even",
    ("verdict", "k"): "kpp.k",
    ("calibrate", "data"): "calibration",
    ("attach", "where"): "exits.where",
    ("attach", "pool"): "exits.pool",
    ("attach", "axis"): "Sequential",  # whose answers have no places
    ("compensate", "where"): "Sequential",
    ("search", "grid"): "search.grid",
    ("compare", "a"): "compare",
    ("compare", "b"): "compare",
}
ARGUMENTS = [
    (name, argument)
    for name, (function, _) in PUBLIC.items()
    for argument, one in inspect.signature(function).parameters.items()
    if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) and (name, argument) not in NOT_OURS
]


@pytest.mark.filterwarnings("ignore:training")
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_a_wrong_argument_is_refused_in_one_line_that_names_it(name, argument):
    found = list(refusals(name, argument))
    assert found, "nothing that is wrong was refused"
    places = {f"{name}.{argument}", argument, SPEAKS_FOR.get((name, argument), argument)}
    for error in found:
        assert any(error.where == place or error.where.startswith(f"{place}.") for place in places), error
        assert len(str(error).splitlines()) == 1


def refusals(name: str, argument: str) -> Iterator[EverychipError]:
    """What is said of each wrong value that is not taken; any other error fails the test."""
    function, good = PUBLIC[name]
    if argument == "calibration":  # without an array nothing is calibrated
        good = {**good, "hardware": ARRAY}
    for wrong in WRONG:
        if argument == "checkpoint" and wrong == "a":
            continue
        try:
            function(**{**good, argument: wrong})
        except EverychipError as error:
            yield error


@pytest.mark.parametrize("name", [name for name, (_, good) in PUBLIC.items() if "hardware" in good])
def test_a_device_in_place_of_a_hardware_is_shown_how_to_become_one(name):
    function, good = PUBLIC[name]
    with pytest.raises(ConfigError, match=rf"^{name}\.hardware: found Gaussian") as error:
        function(**{**good, "hardware": HARDWARE.device})
    remedy = "everychip.Hardware(device=everychip.devices.Gaussian(sigma=0.1))"
    assert str(error.value).endswith(f"such as {remedy}")
    assert ec.Hardware(device=ec.devices.Gaussian(sigma=0.1)) == HARDWARE


@pytest.mark.parametrize("name", [name for name, (_, good) in PUBLIC.items() if "model" in good])
def test_a_class_in_place_of_a_model_is_to_be_called(name):
    function, good = PUBLIC[name]
    with pytest.raises(ConfigError, match=r"found the class Linear; expected a value of it: Linear\(…\)"):
        function(**{**good, "model": nn.Linear})


def test_every_function_that_takes_a_hardware_is_tried_here():
    names = {name for name in ec.__all__ if callable(getattr(ec, name)) and name != "benchmark"}
    public = {name: getattr(ec, name) for name in names if not isinstance(getattr(ec, name), type)}
    assert {n for n, f in public.items() if "hardware" in inspect.signature(f).parameters} <= PUBLIC.keys()


@pytest.mark.parametrize(
    ("where", "call"),
    {
        "load.name": lambda folder: ec.load(3),
        "load.hub": lambda folder: ec.load("digits-lenet-vanilla", hub=3),
        "load.revision": lambda folder: ec.load("digits-lenet-vanilla", revision=3),
        "write_report.source": lambda folder: ec.write_report(3),
        "write_report.output": lambda folder: ec.write_report(DRAWS, output=3),
        "write_report.target": lambda folder: ec.write_report(DRAWS, output=folder, target="90 %"),
        "write_report.title": lambda folder: ec.write_report(DRAWS, output=folder, title=3),
        "run_experiment.experiment": lambda folder: ec.run_experiment("recipe.toml", folder),
        "run_study.study": lambda folder: ec.run_study({}, folder),
        "benchmark.model": lambda folder: ec.benchmark(nn.Linear, "digits-mlp-gaussian-0.2@1"),
        "benchmark.task": lambda folder: ec.benchmark(MODEL, 3),
        "break_even.target": lambda folder: ec.break_even(**ON_CHIPS, target="90 %"),
        "break_even.drop": lambda folder: ec.break_even(**ON_CHIPS, drop=0.01),
        "evaluate.first": lambda folder: ec.evaluate(**ON_CHIPS, chips=1, first=2**63),
    }.items(),
)
def test_what_is_wrong_whatever_else_is_given_names_its_argument_and_writes_nothing(tmp_path, where, call):
    with pytest.raises(EverychipError) as error:
        call(tmp_path)
    assert error.value.where == where and len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_last_chip_that_a_table_of_draws_can_name_is_evaluated():
    draws = ec.evaluate(**ON_CHIPS, chips=1, first=2**63 - 1)
    assert draws.chip.tolist() == [2**63 - 1]


def test_the_sizes_that_other_functions_share_with_evaluate_are_their_own():
    for name in ("sensitivity", "break_even", "disagreement"):
        function, good = PUBLIC[name]
        for argument in ("chips", "batch_size", "images"):
            with pytest.raises(EverychipError, match=rf"^{name}\.{argument}: found 0"):
                function(**{**good, argument: 0})
        with pytest.raises(SampleSizeError, match=rf"^{name}\.chips: found 1; expected at least 2"):
            function(**{**good, "chips": 1})


def test_numbers_of_numpy_and_of_one_element_tensors_are_numbers():
    chip = ec.program(MODEL, HARDWARE, seed=np.int64(0), chip=torch.tensor(1))
    assert torch.equal(chip["0.weight"], ec.program(MODEL, HARDWARE, seed=0, chip=1)["0.weight"])
    assert len(ec.evaluate(**ON_CHIPS, chips=np.int64(2), seed=np.int32(0))) == 2
