"""The level-dependent devices of the NeFT, TSB and RoCR papers."""

from __future__ import annotations

import pytest
import torch
from reference import hardware as reference
from reference.statistics import assert_moments

from everychip import Hardware, devices, mapping, rng_for
from everychip.errors import ConfigError

SHAPES = {"RRAM1": 1, "FeFET2": 2, "FeFET3": 3, "RRAM4": 4, "FeFET6": 6}

# DEVICES.md, section 2: σ of L0 … L3 at σ = 0.01.
TABLE = {
    "RRAM1": (0.0100, 0.0100, 0.0100, 0.0100),
    "FeFET2": (0.0067, 0.0135, 0.0135, 0.0067),
    "FeFET3": (0.0049, 0.0146, 0.0146, 0.0049),
    "RRAM4": (0.0038, 0.0151, 0.0151, 0.0038),
    "FeFET6": (0.0026, 0.0155, 0.0155, 0.0026),
}


def test_these_are_all_presets_with_levels():
    shipped = {name for name, table in devices.presets().items() if table["kind"] == "levels"}
    assert shipped == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_a_preset_has_the_multipliers_of_its_formula_and_names_its_source(name):
    assert devices.preset(name, sigma=0.1).multipliers == pytest.approx(reference.multipliers(SHAPES[name]))
    assert "2305.14561" in devices.presets()[name]["source"]


@pytest.mark.parametrize("level_of", ["weight", "cell"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_levels_have_the_sigmas_of_the_published_table(name, level_of):
    device = devices.preset(name, sigma=0.01, level_of=level_of)
    levels = torch.tensor([0, 1, 2, 3]) / 3
    assert device.std(levels).tolist() == pytest.approx(TABLE[name], abs=5.1e-5)


@pytest.mark.parametrize("g", [0.0, 0.2, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_a_sampled_preset_has_its_stated_mean_and_sigma(name, g):
    device = devices.preset(name, sigma=0.1)
    cells = device.program(torch.full((20_000,), g), rng_for(0, name, str(g)))
    level = reference.level_of_whole_weight(g, 1.0)
    assert_moments(cells, mean=g, std=0.1 * reference.multipliers(SHAPES[name])[level])


def test_the_inner_band_of_a_whole_weight_excludes_its_edges():
    device = devices.Levels(sigma=1.0, multipliers=(1.0, 2.0, 3.0, 4.0))
    g = torch.tensor([0.0, 0.2499999, 0.25, 0.2500001, 0.4999, 0.5001, 0.7499999, 0.75, 0.7500001, 1.0])
    expected = [1, 1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert device.std(g).tolist() == expected
    assert [1 + reference.level_of_whole_weight(float(v), 1.0) for v in g] == expected


def test_a_cell_is_read_as_its_nearest_level():
    device = devices.Levels(sigma=1.0, multipliers=(1.0, 2.0, 3.0, 4.0), level_of="cell")
    g = torch.tensor([-0.3, 0.0, 0.16, 0.17, 1 / 3, 0.49, 0.51, 2 / 3, 0.83, 0.84, 1.0, 1.4])
    assert device.std(g).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_levels_can_be_described(count):
    values = tuple(float(n) for n in range(1, count + 1))
    middles = (torch.arange(count) + 0.5) / count
    assert devices.Levels(sigma=1.0, multipliers=values).std(middles).tolist() == list(values)
    digits = torch.arange(count) / (count - 1)
    cell = devices.Levels(sigma=1.0, multipliers=values, level_of="cell")
    assert cell.std(digits).tolist() == list(values)


@pytest.mark.parametrize(
    "other",
    [mapping.BitSliced(), mapping.Direct(), mapping.BitSliced(weight_bits=4, cell_bits=2, quantize=False)],
    ids=["bit_sliced", "direct", "four bits"],
)
def test_looking_up_cells_needs_a_mapping_that_forms_them(other):
    device = devices.preset("FeFET6", sigma=0.1, level_of="cell")
    for held in (device, devices.Sequence(devices=(devices.Gaussian(sigma=0.1), device))):
        with pytest.raises(ConfigError, match="quantize = true") as error:
            Hardware(device=held, mapping=other)
        assert "\n" not in str(error.value)
    Hardware(device=device, mapping=mapping.BitSliced(quantize=True))


@pytest.mark.parametrize("multipliers", [(1.0,), (), (1.0, -1.0), (1.0, float("nan"))])
def test_multipliers_that_describe_no_device_are_refused(multipliers):
    with pytest.raises(ConfigError, match="multipliers"):
        devices.Levels(sigma=0.1, multipliers=multipliers)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean FeFET6"):
        devices.preset("FeFET66", sigma=0.1)


def test_a_preset_survives_its_own_table():
    device = devices.preset("FeFET3", sigma=0.2, level_of="cell")
    assert devices.Device.parse(device.table()) == device
    assert device.label == "FeFET3"
