"""A model placed on a hardware: one walk, and chips to the bit as by the literal path."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

import everychip as ec
from everychip import Hardware, devices, mapping, rng_for
from everychip.array import Array
from everychip.errors import ConfigError, ModelError
from everychip.hardware.hardware import Why
from everychip.hardware.placement import Placed
from everychip.models import Model

SOURCE = Path(__file__).parents[2] / "src" / "everychip"
HARDWARE = Hardware(device=devices.Gaussian(sigma=0.1))


class Tied(nn.Module):
    """A module held twice, a weight that two layers share, and a table that is the readout, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.first = nn.Linear(8, 8)
        self.again = self.first
        self.other = nn.Linear(8, 8)
        self.other.weight = self.first.weight
        self.readout = nn.Linear(8, 5)
        self.readout.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.other(self.again(torch.relu(self.first(self.table(x))))))


def networks() -> dict[str, nn.Module]:
    image = {"lenet": (1, 28, 28), "vgg8": (1, 32, 32)}
    made = {
        kind: Model.parse({"kind": kind, **({"width": 4} if kind == "vgg8" else {})}).build(shape, 10, seed=0)
        for kind, shape in image.items()
    }
    exits = ec.MultiExit(Model.parse("lenet").build((1, 28, 28), 10, seed=0), torch.zeros(2, 1, 28, 28))
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return {**made, "multi_exit": exits, "gru": nn.GRU(4, 8), "attention": attention, "tied": Tied()}


@pytest.mark.filterwarnings("ignore:.*are one module")
@pytest.mark.parametrize("law", ["whole weights", "cells"])
@pytest.mark.parametrize("name", networks())
def test_a_placed_model_is_programmed_as_its_weights_are_one_by_one(name, law):
    """The literal path: every matrix of the model, drawn at (seed, purpose, chip, name) from its own law."""
    model = networks()[name]
    held = mapping.BitSliced(quantize=law == "cells")
    hardware = HARDWARE.replace(mapping=held)
    chip = Placed.of(model, hardware).program(seed=3, path=("validate", 7))
    owners = dict(model.named_modules())
    matrices = {
        name: p for name, p in model.named_parameters()
        if p.ndim > 1 and not isinstance(owners[name.rpartition(".")[0]], nn.LayerNorm | nn.BatchNorm2d)
    }  # fmt: skip
    assert list(chip) == list(matrices)
    for key, weight in matrices.items():
        rng = rng_for(3, "validate", 7, key)
        deviation = held.deviation(weight.detach(), hardware.device, rng)
        assert torch.equal(chip[key], held.target(weight.detach()) + deviation)
    for key, value in ec.program(model, hardware, seed=3, chip=7, purpose="validate").items():
        assert torch.equal(value, chip[key])


def test_another_sigma_or_time_takes_no_second_walk_and_gives_the_same_chips():
    model = networks()["lenet"]
    placed = Placed.of(model, HARDWARE)
    louder = HARDWARE.with_sigma(0.3)
    moved = placed.with_hardware(louder)
    assert moved.rows is placed.rows
    assert moved.weights is placed.weights
    fresh = Placed.of(model, louder).program(seed=1, path=("evaluate", 0))
    for name, value in moved.program(seed=1, path=("evaluate", 0)).items():
        assert torch.equal(value, fresh[name])
    assert moved.effective_sigma() == ec.effective_sigma(model, louder) != placed.effective_sigma()


@pytest.mark.parametrize("change", [{"digital": ("0",)}, {"embeddings": True}, {"array": Array()}], ids=str)
def test_hardware_that_moves_parameters_is_refused_without_a_walk(change):
    placed = Placed.of(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2)), HARDWARE)
    with pytest.raises(ConfigError, match=r"Placed\.of\(model, hardware\)"):
        placed.with_hardware(HARDWARE.replace(**change))


def test_what_no_crossbar_holds_is_refused_when_it_is_placed():
    with pytest.raises(ModelError, match="no matrix"):
        Placed.of(nn.ReLU(), HARDWARE)


def test_every_reason_has_a_member_beside_its_text():
    model = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    rows = Placed.of(model, HARDWARE.replace(digital=("3",))).rows
    assert [(row.name, row.why) for row in rows] == [
        ("0.weight", Why.LOOK_UP), ("1.weight", Why.MATRIX), ("1.bias", Why.VECTOR),
        ("2.weight", Why.NORMALISATION), ("2.bias", Why.NORMALISATION),
        ("3.weight", Why.BY_REQUEST), ("3.bias", Why.BY_REQUEST),
    ]  # fmt: skip
    assert [row.crossbar for row in rows] == [False, True, *[False] * 5]
    assert all(row.why in row.reason for row in rows)


def walks(path: Path) -> list[str]:
    """Where a file has a hardware walk a model: calls of one argument of these three names."""
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    named = [call for call in calls if isinstance(call.func, ast.Attribute) and len(call.args) == 1]
    return [c.func.attr for c in named if c.func.attr in ("placement", "crossbar", "columns")]


def test_a_model_is_placed_in_one_place():
    found = {path.name: calls for path in SOURCE.rglob("*.py") if (calls := walks(path))}
    own = found.pop("hardware.py")
    assert own == ["placement"] * 2, "Hardware.crossbar and Hardware.columns read its rows"
    assert found == {"placement.py": ["placement"]}
