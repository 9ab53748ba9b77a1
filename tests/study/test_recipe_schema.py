"""The JSON schema of recipes takes what everychip takes and refuses what it refuses: by jsonschema."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import everychip as ec
from everychip.cli import call
from everychip.config.component import Component
from everychip.config.toml import read_toml
from everychip.errors import ConfigError
from everychip.study import recipes
from everychip.study.experiment import Experiment
from everychip.study.recipe_schema import DIALECT, FILE, as_text, recipe_schema

SHIPPED = recipes.shipped()
OWN = recipe_schema(plugins=False)
ONE: dict[str, Any] = {
    "data": "digits",
    "model": {"kind": "lenet"},
    "method": {"kind": "irs", "beta": 0.1, "constraint": {"kind": "clip", "alpha": 1.5}},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
}


def valid(table: dict[str, Any], schema: dict[str, Any] = OWN) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(table))


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    table = deepcopy(ONE)
    change(table)
    return table


def test_it_is_a_schema_and_the_one_beside_the_shipped_recipes() -> None:
    jsonschema.Draft202012Validator.check_schema(OWN)
    file = next(iter(SHIPPED.values())).parent / FILE
    assert file.read_text(encoding="utf-8") == as_text(OWN), "run `make docs`"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert valid(read_toml(SHIPPED[name]))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(method="vanilla"),
        lambda t: t["hardware"].update(device={"preset": "RRAM1", "sigma": 0.1}),
        lambda t: t["hardware"].update(device={"kind": "sequence", "devices": ["ideal"]}, mapping="direct"),
        lambda t: t.update(evaluation={"sigma": [0, 0.1], "chips": 5}),
    ],
)
def test_what_everychip_reads_the_schema_takes(change: Callable[[dict[str, Any]], object]) -> None:
    table = changed(change)
    assert Experiment.read(table, where="here")
    assert valid(table)


@pytest.mark.parametrize("time", ["1h", 60, ["25s", 60.5]])
def test_times_are_taken_with_and_without_a_unit(time: object) -> None:
    table = changed(lambda t: t.update(evaluation={"time": time}))
    table["hardware"] = {"device": {"kind": "pcm"}, "mapping": "direct"}
    assert Experiment.read(table, where="here")
    assert valid(table)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("model"),
        lambda t: t.update(epochs=3),
        lambda t: t["method"].update(bata=0.1),
        lambda t: t["method"].update(kind="isr"),
        lambda t: t["method"].pop("kind"),
        lambda t: t["method"].update(beta="0.1"),
        lambda t: t["method"]["constraint"].update(alpha=-1),
        lambda t: t["hardware"].update(device={"preset": "RRAM99"}),
        lambda t: t["hardware"].update(device={"kind": "sequence", "devices": [{"kind": "gausian"}]}),
        lambda t: t.update(training={"epochs": 0}),
        lambda t: t.update(training={"optimizer": "unknown"}),
        lambda t: t.update(seed=-1),
    ],
)
def test_what_everychip_refuses_the_schema_refuses(change: Callable[[dict[str, Any]], object]) -> None:
    table = changed(change)
    with pytest.raises(ConfigError):
        Experiment.read(table, where="here")
    assert not valid(table)


@pytest.mark.parametrize("value", [ec.Experiment, ec.Study, ec.Hardware, ec.methods.OVF, ec.devices.Gaussian])
def test_every_value_has_a_schema_that_takes_its_own_table(value: Any) -> None:
    examples = {
        ec.Experiment: ec.Experiment.from_toml("digits"),
        ec.Study: ec.Study.from_toml("demo"),
        ec.Hardware: ec.Hardware(device=ec.devices.Gaussian(sigma=0.1)),
        ec.methods.OVF: ec.methods.OVF(),
        ec.devices.Gaussian: ec.devices.Gaussian(sigma=0.1),
    }
    schema = value.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert valid(examples[value].table(), schema)
    assert not valid({**examples[value].table(), "no_such_key": 1}, schema)


def test_every_kind_of_every_family_that_a_recipe_chooses_from_is_in_it() -> None:
    names = {name for name in OWN["$defs"] if "." in name}
    for family in ("device", "mapping", "method", "data", "model", "mitigation", "constraint"):
        own = {
            f"{family}.{kind}"
            for kind, component in Component.families[family].kinds().items()
            if component.__module__.startswith("everychip.")
        }
        assert own <= names


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["$schema"] == DIALECT
    assert valid(ONE, printed)


def test_a_recipe_may_name_its_schema(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        "#:schema ./recipe.schema.json\n" + SHIPPED["digits"].read_text("utf-8")
    )
    assert Experiment.from_toml(tmp_path / "mine.toml").id == Experiment.from_toml("digits").id


def test_every_field_of_every_kind_says_what_it_means() -> None:
    """Its own description, or the docstring's: an editor that knows the schema shows it."""
    silent = [
        f"{family}.{name}.{field}"
        for family, base in Component.families.items()
        for name, kind in base.kinds().items()
        if kind.__module__.startswith("everychip.")
        for field, about in kind.model_json_schema()["properties"].items()
        if field != "kind" and not about.get("description")
    ]
    assert silent == []
    assert "β" in OWN["$defs"]["method.irs"]["properties"]["beta"]["description"]
