"""The device of measurements draws what its tables say, and its file is read from where the recipe lies."""

from __future__ import annotations

import math

import pytest
import torch
from reference.statistics import assert_moments

from everychip import Hardware, mapping, program, rng_for
from everychip.array import Array
from everychip.config.component import merge, override
from everychip.config.toml import write_toml
from everychip.devices import Device, Gaussian, Law, Measured, Sequence
from everychip.errors import ConfigError
from everychip.hardware.chip import program_weights

G = (0.1, 0.5, 1.0)
LAW = Law(
    g=G, bias=(0.02, 0.0, -0.04), device_to_device=(0.03, 0.05, 0.04), cycle_to_cycle=(0.04, 0.02, 0.03)
)
DEVICE = Measured(laws=(LAW,), g_max=25.0, source="measured.csv", name="mine")


def lerp(x, values):
    """Linear interpolation, the ends held, written out."""
    x = min(max(x, G[0]), G[-1])
    i = 0 if x <= G[1] else 1
    share = (x - G[i]) / (G[i + 1] - G[i])
    return (1 - share) * values[i] + share * values[i + 1]


@pytest.mark.parametrize("g", [0.0, 0.1, 0.3, 0.5, 0.8, 1.0])
def test_samples_have_the_bias_and_the_sigma_of_the_tables(g):
    cells = DEVICE.program(torch.full((40_000,), g), rng_for(0, str(g)))
    std = math.hypot(lerp(g, LAW.device_to_device), lerp(g, LAW.cycle_to_cycle))
    assert_moments(cells, mean=g + lerp(g, LAW.bias), std=std)
    assert float(DEVICE.std(torch.tensor(g, dtype=torch.float64))) == pytest.approx(std)


def test_without_a_chip_the_die_part_is_shared_by_all_cells_and_drawn_for_each_call():
    law = Law(g=(0, 1), bias=(0, 0), cell_to_cell=(0, 0), die_to_die=(0.1, 0.3))
    device = Measured(laws=(law,), g_max=25.0, source="a.csv")
    g = torch.linspace(0, 1, 5)
    shifts = torch.stack([device.deviation(g, rng_for(0, "die", chip)) for chip in range(2000)])
    scaled = shifts / (0.1 + 0.2 * g)
    assert torch.allclose(scaled, scaled[:, :1].expand_as(scaled), atol=1e-5)
    assert_moments(scaled[:, 0], mean=0.0, std=1.0)
    assert torch.allclose(device.std(g), 0.1 + 0.2 * g)


def test_a_shift_of_the_die_moves_both_signs_of_a_weight_away_from_zero():
    law = Law(g=(0, 1), bias=(0, 0), die_to_die=(0.1, 0.1))
    device = Measured(laws=(law,), g_max=25.0, source="a.csv")
    weight = torch.tensor([1.0, -1.0])
    first, second = mapping.Direct().deviation(weight, device, rng_for(0))
    assert float(first) == pytest.approx(-float(second))
    assert not device.symmetric
    assert not DEVICE.symmetric
    assert Measured(laws=(Law(g=(0, 1), bias=(0, 0), cell_to_cell=(1, 1)),), g_max=1.0, source="a").symmetric


def test_the_gradient_is_the_slope_of_the_tables_and_finite_at_zero():
    g = torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    quiet = Law(g=(0, 1), bias=(0, 0), cell_to_cell=(0, 0.2), die_to_die=(0, 0.2))
    LAW.bias_at(g).sum().backward()
    assert g.grad.tolist() == pytest.approx([0.0, -0.05, -0.08])
    g.grad = None
    quiet.std_at(g).sum().backward()
    assert bool(g.grad.isfinite().all())


def test_a_device_survives_its_own_table():
    assert Device.parse(DEVICE.table()) == DEVICE


def test_a_time_is_chosen_and_never_interpolated():
    laws = tuple(Law(time=t, g=(0, 1), bias=(0, 0), cell_to_cell=(s, s)) for t, s in ((1, 0.1), (3600, 0.2)))
    device = Measured(laws=laws, time=1, g_max=25.0, source="a.csv", name="mine")
    assert float(device.at(3600).std(torch.zeros(()))) == pytest.approx(0.2)
    assert (device.label, device.at(3600).label) == ("mine at 1 s", "mine at 1 h")
    with pytest.raises(ConfigError, match="found 60 s, which was not measured.*1, 3600") as error:
        device.at(60)
    assert "\n" not in str(error.value)
    written = Device.parse({**device.table(), "time": "1h"})
    assert written == device.at(3600)
    with pytest.raises(ConfigError, match="a text such as"):
        Device.parse({**device.table(), "time": "soon"})
    with pytest.raises(ConfigError, match="found no time"):
        Measured(laws=laws, g_max=25.0, source="a.csv")
    with pytest.raises(ConfigError, match="not measured"):
        DEVICE.at(5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"g": [0.5, 0.1, 1.0]}, "ascending"),
        ({"g": [0.0, 0.5, 1.5]}, "g.2"),
        ({"bias": [0.0]}, "1 values; expected 3"),
        ({"cycle_to_cycle": [0.1, -0.1, 0.1]}, "cycle_to_cycle"),
        ({"cell_to_cell": [0.1, 0.1, 0.1]}, "twice"),
        ({"device_to_device": None, "cycle_to_cycle": None}, "no standard deviation"),
        ({"g": [0.5], "bias": [0.1]}, "at least 2"),
    ],
)
def test_tables_that_are_no_law_are_refused_in_one_line(change, words):
    table = {key: value for key, value in {**LAW.table(), **change}.items() if value is not None}
    with pytest.raises(ConfigError, match=words) as error:
        Device.parse({"kind": "measured", "laws": [table], "g_max": 25.0, "source": "a.csv"})
    assert "\n" not in str(error.value)


def test_sigma_of_a_measured_device_cannot_be_set():
    assert DEVICE.nominal_sigma is None
    with pytest.raises(ConfigError, match="no nominal σ"):
        DEVICE.with_sigma(0.1)


def test_the_effective_sigma_of_a_mapping_is_that_of_its_samples():
    hardware = Hardware(device=DEVICE, mapping=mapping.BitSliced(quantize=True))
    weight = torch.full((50_000,), 0.4)
    weight[0] = 1.0
    drawn = hardware.mapping.deviation(weight, DEVICE, rng_for(3))[1:]
    std = float(hardware.mapping.std(weight, DEVICE)[1])
    assert float(drawn.std()) == pytest.approx(std, rel=0.02)


def test_a_file_is_a_device_with_other_keys_laid_over_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = {key: value for key, value in DEVICE.table().items() if key != "name"}
    (tmp_path / "chip7.toml").write_text(write_toml(table), encoding="utf-8")
    device = Device.parse({"file": "chip7.toml"})
    assert device == DEVICE.replace(name="chip7")
    assert Device.parse({"file": "chip7.toml", "name": "other"}).label == "other"
    assert Device.parse({"kind": "sequence", "devices": [{"file": "chip7.toml"}]}).devices == (device,)


def test_a_file_that_is_no_device_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"bad.toml": "a =", "other.toml": "a = 1", "chain.toml": 'file = "x.toml"'}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for value in ("absent.toml", "bad.toml", "other.toml", "chain.toml", 3):
        with pytest.raises(ConfigError, match=r"device\.file") as error:
            Device.parse({"file": value})
        assert "\n" not in str(error.value)


def test_another_file_replaces_the_whole_device():
    old = {"hardware": {"device": DEVICE.table()}}
    assert merge(old, {"hardware": {"device": {"file": "b.toml"}}})["hardware"]["device"] == {
        "file": "b.toml"
    }
    changed = override({"device": {"file": "a.toml", "time": 1}}, ["device.time=2"])
    assert changed["device"] == {"file": "a.toml", "time": 2}


SHIFTED = Law(g=(0, 1), bias=(0, 0), device_to_device=(0, 0), die_to_die=(0.1, 0.1))
DIE = Measured(laws=(SHIFTED,), g_max=25.0, source="a.csv")


def shifts(chip, device=DIE):
    """How far every tensor of a chip of three layers lies from its target, as a share of its G_max."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4), torch.nn.Linear(4, 2))
    hardware = Hardware(device=device, mapping=mapping.Direct())
    found = program(model, hardware, seed=0, chip=chip)
    weights = dict(model.named_parameters())
    return {
        name: ((held - weights[name]) / weights[name].abs().max() * weights[name].sign()).detach()
        for name, held in found.items()
    }


def test_a_chip_is_one_die_whose_shift_all_its_layers_share():
    dies = []
    for chip in range(400):
        found = torch.cat([values.flatten() for values in shifts(chip).values()]) / 0.1
        assert torch.allclose(found, found[0].expand_as(found), atol=1e-4)
        dies.append(float(found[0]))
    assert_moments(torch.tensor(dies), mean=0.0, std=1.0)


def test_every_slice_and_every_effect_in_a_row_is_on_the_same_die():
    chained = Sequence(devices=(Gaussian(sigma=0.0), DIE))
    plain = shifts(3)["2.weight"]
    assert torch.equal(plain, shifts(3, chained)["2.weight"])
    sliced = mapping.BitSliced(weight_bits=4, cell_bits=2, quantize=True)
    hardware = Hardware(device=DIE, mapping=sliced, array=Array())
    [low, high] = program_weights({"w": torch.ones(5, 4)}, hardware, seed=0, path=("evaluate", 3))[
        "w"
    ].cells.slices
    moved = 1 + float(plain[0, 0])  # both digits of a weight of 1 stand at G_max, and count 1 and 4 of 5
    assert torch.allclose(low, torch.tensor(0.2 * moved))
    assert torch.allclose(high, torch.tensor(0.8 * moved))


def test_a_die_that_is_given_is_that_of_every_chip():
    high = DIE.replace(die=1.5)
    for chip in range(3):
        assert all(torch.allclose(s, torch.tensor(0.15), atol=1e-5) for s in shifts(chip, high).values())
    assert float(high.std(torch.tensor(0.5))) == 0
    assert Device.parse(high.table()) == high
    assert "die" not in DIE.table()
