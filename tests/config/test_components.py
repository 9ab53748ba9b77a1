"""What every component promises: as TOML it is itself again, and nothing is taken for what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import everychip
from everychip import devices, methods
from everychip.array import Array
from everychip.config.component import Component, Config, override
from everychip.config.validation import must_be
from everychip.errors import ConfigError
from everychip.training.loop import Training


def components(above: type[Component] = Component) -> Iterator[type[Component]]:
    for below in above.__subclasses__():
        yield below
        yield from components(below)


def test_every_example_that_a_line_shows_is_a_component_of_its_family() -> None:
    shown = {name: family.example for name, family in Component.families.items() if family.example}
    assert {"device", "method", "model", "data"} <= shown.keys()
    for name, example in shown.items():
        table, _, python = example.partition(", in Python ")
        family = Component.families[name]
        parsed = family.parse(override({}, [f"x={table}"])["x"])
        assert isinstance(parsed, family)
        fields = ", ".join(f"{key}={value}" for key, value in parsed.table().items() if f"{key}=" in python)
        assert python in ("", f"{name}s.{type(parsed).__name__}({fields})")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({}, 'device: found no value; expected a required value, such as { kind = "gaussian", sigma = 0.1 }'),
        ({"device": 0.3}, "device: found 0.3; expected a device: a table with a kind, such as"),
        (
            {"device": "gaussian"},
            "device.sigma: found no value; expected a required value: σ, in units of G_max",
        ),
        ({"device": "RRAM-1"}, "unknown device 'RRAM-1'; did you mean { preset = \"RRAM1\" }?"),
        (
            {"device": {"preset": "RRAM1"}, "sigma": 0.3},
            "sigma: found an unknown key; did you mean device.sigma?",
        ),
        ({"device": {"preset": "RRAM1"}, "digital": "fc"}, "digital: found 'fc'; expected a list: [\"fc\"]"),
    ],
)
def test_a_wrong_hardware_is_told_what_to_write(table: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        everychip.Hardware.read(table, where="hardware")
    assert line in str(error.value)


def test_no_epochs_point_to_the_evaluation_of_a_network_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"epochs: found 0; expected at least 1; .*everychip\.evaluate"):
        Training(epochs=0)
    with pytest.raises(ConfigError, match=r"epochs: found -1; expected a number greater than or equal to 1$"):
        Training(epochs=-1)


def accepts_none(annotation: object) -> bool:
    try:
        TypeAdapter(annotation).validate_python(None)
    except ValidationError:
        return False
    return True


def test_none_is_a_value_only_where_it_is_the_default() -> None:
    """TOML has no null: an absent key is read as the default."""
    for module in walk_packages(everychip.__path__, "everychip."):
        import_module(module.name)
    lost = [
        f"{component.__name__}.{name}"
        for component in components()
        if component.__module__.startswith("everychip.")
        for name, field in component.model_fields.items()
        if not field.is_required()
        and field.get_default(call_default_factory=True) is not None
        and accepts_none(field.annotation)
    ]
    assert lost == []


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        (methods.Censored, {"ratio": "0.5"}, "Censored.ratio: found '0.5'; expected a number"),
        (methods.Censored, {"ratio": True}, "Censored.ratio: found True; expected a number"),
        (methods.SAM, {"rho": b"0.5"}, "SAM.rho: found b'0.5'; expected a number"),
        (methods.SAM, {"noise": "off"}, "SAM.noise: found 'off'; expected true or false"),
        (methods.SAM, {"noise": 1}, "SAM.noise: found 1; expected true or false"),
        (methods.IRS, {"count": True}, "IRS.count: found True; expected a whole number"),
        (methods.IRS, {"count": 2.5}, "IRS.count: found 2.5; expected a whole number"),
        (methods.IRS, {"decay": None}, "IRS.decay: found None; expected a number"),
        (methods.NoiseInjection, {"chips": "4"}, "NoiseInjection.chips: found '4'; expected a whole number"),
        (methods.OVF, {"increments": [0.2, "0.1"]}, "OVF.increments.1: found '0.1'; expected a number"),
        (methods.OVF, {"increments": 0.1}, "OVF.increments: found 0.1; expected a list: [0.1]"),
        (devices.Pcm, {"time": True}, "Pcm.time: found True; expected a number"),
        (Training, {"epochs": "3"}, "Training.epochs: found '3'; expected a whole number"),
        (Array, {"ranges": {"w": {"dac": "1"}}}, "Array.ranges.w.dac: found '1'; expected a number"),
    ],
)
def test_no_text_is_a_number_and_no_number_is_true(
    kind: type[Config], fields: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**fields)
    assert str(error.value) == line


def test_whole_numbers_lists_units_and_numpy_are_taken_as_before() -> None:
    assert methods.SAM(rho=1, noise=np.True_) == methods.SAM(rho=1.0, noise=True)
    assert methods.IRS(count=4.0).count == methods.IRS(count=np.int64(4)).count == 4
    assert methods.Censored(ratio=np.float32(0.5), threshold=torch.tensor(2.0)).table()["ratio"] == 0.5
    assert methods.OVF(increments=[1, 0.5]).increments == (1.0, 0.5)
    assert devices.Pcm(time="1 h").time == 3600.0
    table = {"method": {"kind": "sam", "rho": 0.1}}
    for text, rho in (("0.5", 0.5), (".5", 0.5), ("-1.", -1.0), ("1e-3", 1e-3), ("2.e-3", 2e-3), ("3", 3)):
        assert override(table, [f"method.rho={text}"])["method"]["rho"] == rho
    assert override(table, ["title=1.2.3", "name=.", "path=./5"]) == {
        **table,
        "title": "1.2.3",
        "name": ".",
        "path": "./5",
    }


@pytest.mark.parametrize(
    ("positions", "line"),
    [
        (3, "IRS.positions: found 3; expected 'auto' or 'paper' or a list of names"),
        ("papr", "IRS.positions: found 'papr'; expected 'auto' or 'paper' or a list of names"),
        (["features.0", 3], "IRS.positions.1: found 3; expected text"),
    ],
)
def test_where_several_things_will_do_the_line_says_all_of_them(positions: object, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        methods.IRS(positions=positions)
    assert str(error.value) == line
    with pytest.raises(ConfigError) as error:
        methods.Method.parse({"kind": "irs", "positions": positions})
    assert str(error.value) == line.replace("IRS", "method")


def test_several_numbers_or_words_in_one_union_keep_their_own_bounds() -> None:
    class Lamp(Config):
        watts: int | tuple[float, ...] | bool = 5

    assert [Lamp(watts=w).watts for w in (3, [1, 2.5], True)] == [3, (1.0, 2.5), True]
    with pytest.raises(ConfigError, match=r"^Lamp\.watts: found '3'; .*whole number or a list or true or"):
        Lamp(watts="3")


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        *((wrong, {}) for wrong in (None, True, "1", [1], float("nan"), float("inf"), 1j)),
        *((wrong, {"whole": True}) for wrong in (1.0, 1.5, False, np.float64(1))),
        *((wrong, {"above": 0, "below": 1}) for wrong in (0, 1, -1, 2)),
        (0, {"whole": True, "least": 1}),
    ],
)
def test_an_argument_out_of_its_bounds_is_refused_and_the_bounds_are_said(
    value: object, bounds: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as error:
        must_be(value, "f.x", **bounds)
    kind = "a whole number" if bounds.get("whole") else "a number"
    assert str(error.value).startswith(f"f.x: found {value!r}; expected {kind}")
    for bound in (b for name, b in bounds.items() if name != "whole"):
        assert f" {bound}" in str(error.value)


def test_arguments_within_their_bounds_pass() -> None:
    for value, bounds in (
        (1, {"least": 1, "whole": True}),
        (np.int64(3), {"whole": True}),
        (np.float32(0.5), {"above": 0, "below": 1}),
        (3, {"above": 2.5}),
    ):
        must_be(value, "f.x", **bounds)
