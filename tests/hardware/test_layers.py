"""Layers may have cells, mapping and array of their own, and the rest is as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import everychip as ec
from everychip.array import Array
from everychip.cost import estimate
from everychip.devices import Gaussian, Measured
from everychip.devices.measured import Law
from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware
from everychip.hardware.layers import Layer
from everychip.hardware.placement import Placed
from everychip.mapping import BitSliced, Direct
from everychip.study.experiment import Experiment

DEFAULT = Gaussian(sigma=0.1)
TABLE = {"kind": "gaussian", "sigma": 0.1}


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def hardware(*layers: Layer, **options) -> Hardware:
    return Hardware(device=DEFAULT, layers=layers, **options)


FIRST = Layer(match="0", device=Gaussian(sigma=0.02))
LAST = Layer(match=("4.*",), mapping=Direct())


def test_every_layer_is_the_chip_of_its_own_hardware(model):
    chip = ec.program(model, hardware(FIRST, LAST), seed=3, chip=1)
    for name, own in {
        "0.weight": Hardware(device=Gaussian(sigma=0.02)),
        "2.weight": Hardware(device=DEFAULT),
        "4.weight": Hardware(device=DEFAULT, mapping=Direct()),
    }.items():
        assert torch.equal(chip[name], ec.program(model, own, seed=3, chip=1)[name]), name


def test_effective_noise_is_that_of_each_layers_own_hardware(model):
    found = {row.layer: row.of_max for row in ec.effective_sigma(model, hardware(FIRST, LAST)).layers}
    default = {row.layer: row.of_max for row in ec.effective_sigma(model, hardware()).layers}
    assert found["0.weight"] == pytest.approx(default["0.weight"] / 5)
    assert found["2.weight"] == default["2.weight"]
    assert found["4.weight"] == pytest.approx(0.1)  # one cell for a weight: the device's own σ


def test_the_first_rule_that_names_a_parameter_counts(model):
    both = hardware(FIRST, Layer(match="*", device=Gaussian(sigma=0.5)))
    assert both.by_layer(["0.weight"])["0.weight"].device.sigma == 0.02
    assert both.by_layer(["2.weight"])["2.weight"].device.sigma == 0.5


def test_another_sigma_keeps_the_ratio_and_none_is_none(model):
    own = hardware(FIRST).with_sigma(0.2).by_layer(["0.weight"])["0.weight"]
    assert own.device.sigma == pytest.approx(0.04)
    silent = ec.program(model, hardware(FIRST, LAST).with_sigma(0.0), seed=0, chip=0)
    assert all(torch.equal(silent[name], dict(model.named_parameters())[name]) for name in silent)


def test_another_time_is_that_of_the_layers_that_age():
    laws = tuple(Law(time=t, g=(0, 1), bias=(0, 0), cell_to_cell=(t, t)) for t in (1.0, 2.0))
    aged = Measured(laws=laws, time=1.0, g_max=25, source="a.csv")
    mixed = Hardware(device=aged, mapping=Direct(), layers=(Layer(match="0", device=aged), LAST))
    later = mixed.at(2.0).by_layer(["0.weight", "2.weight"])
    assert {one.device.time for one in later.values()} == {2.0}


def test_a_layer_may_have_an_array_of_its_own_with_ranges_that_are_measured(model):
    x, y = torch.randn(32, 8, generator=ec.rng_for(0, "x")), torch.arange(32) % 4
    own = hardware(Layer(match="4", array=Array(rows=8, dac_bits=4, adc_bits=4)))
    ranged = ec.calibrate(model, own, (x, y))
    assert list(ranged.layers[0].array.ranges) == ["4.weight"]
    chip = ec.program(model, ranged.with_sigma(0.0), seed=0, chip=0)
    digital = ec.run(model, {}, x)
    assert 0 < (ec.run(model, chip, x) - digital).abs().max() < digital.abs().max()
    others = {name: value for name, value in chip.items() if name != "4.weight"}
    assert torch.equal(ec.run(model, others, x), digital)
    drawn = ec.evaluate(model, own, (x, y), chips=2, calibration=(x, y))
    assert len(drawn) == 2


def test_without_layers_table_and_run_id_are_those_of_before(model):
    assert "layers" not in hardware().table()
    table = {"data": "digits", "model": "mlp", "method": "vanilla", "hardware": {"device": TABLE}}
    plain = Experiment.read(table, where="recipe")
    layered = Experiment.read(
        {**table, "hardware": {"device": TABLE, "layers": [{"match": "0", "mapping": "direct"}]}}, where="r"
    )
    assert plain.id != layered.id
    assert Hardware.read(layered.hardware.table(), where="hardware") == layered.hardware
    assert layered.hardware.layers[0].match == ("0",)


def test_a_first_layer_of_more_bits_costs_its_own_cells(model):
    eight, four = BitSliced(weight_bits=8, cell_bits=2), BitSliced(weight_bits=4, cell_bits=2)
    x = torch.ones(1, 8)
    mixed = estimate(model, hardware(Layer(match="0", mapping=eight), mapping=four), x)
    whole = {bits: estimate(model, hardware(mapping=one), x) for bits, one in ((8, eight), (4, four))}
    cells = {bits: {row.name: row.cells for row in cost.layers} for bits, cost in whole.items()}
    found = {row.name: row.cells for row in mixed.layers}
    assert found == {**cells[4], "0.weight": cells[8]["0.weight"]}
    tiles = estimate(model, hardware(Layer(match="0", array=Array(rows=4))), x)
    assert {row.name: row.tiles for row in tiles.layers}["0.weight"] == 2
    assert tiles.area_mm2 != whole[8].area_mm2


def test_placed_walks_once_for_all_hardware_of_the_same_places(model):
    placed = Placed.of(model, hardware(FIRST))
    assert placed.with_hardware(hardware(FIRST).with_sigma(0.3)).hardware.device.sigma == 0.3
    with pytest.raises(ConfigError, match=r"Placed\.of"):
        placed.with_hardware(hardware(LAST))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"match": "nowhere", "mapping": "direct"}], r"hardware\.layers: found 'nowhere', which matches no"),
        ([{"match": "0"}], r"layers\.0: found no device, mapping or array"),
        ([{"match": [], "mapping": "direct"}], r"layers\.0\.match"),
        (
            [{"match": "0", "device": {"kind": "stuck_at", "p0": 0.1, "p1": 0}}],
            r"layers\.0\.mapping: found whole weights",
        ),
        ([{"match": "0", "mapping": "direkt"}], r"layers\.0\.mapping.*did you mean direct"),
        (
            [{"match": "0", "maping": "direct"}],
            r"layers\.0\.maping: found an unknown key; did you mean mapping",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(model, layers, words):
    with pytest.raises(ConfigError, match=words) as error:
        ec.program(
            model, Hardware.read({"device": TABLE, "layers": layers}, where="hardware"), seed=0, chip=0
        )
    assert "\n" not in str(error.value)


def test_a_tie_is_named_by_its_first_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(ConfigError, match=r"1\.weight, which is the same tensor as 0\.weight"):
        ec.program(model, hardware(Layer(match="1", mapping=Direct())), seed=0, chip=0)


@pytest.mark.parametrize("method", ["resilient", "censored"])
def test_what_takes_one_law_for_all_layers_refuses_others(model, method):
    from everychip.methods import Method

    with pytest.raises(ConfigError, match="layers with other hardware"):
        Method.parse(method).bind(model, hardware(FIRST), steps=10)


def test_noisy_training_and_sensitivity_work_with_layers_of_their_own(model):
    x, y = torch.randn(64, 8, generator=ec.rng_for(0, "x")), torch.arange(64) % 4
    own = hardware(FIRST, LAST)
    with pytest.warns(UserWarning, match="at chance"):  # labels of no meaning
        ec.fit(model, ec.methods.NoiseInjection(), (x, y), hardware=own, epochs=1)
    found = ec.sensitivity(model, own, (x, y), chips=3)
    assert {row.layer for row in found.layers} == {"0.weight", "2.weight", "4.weight"}
