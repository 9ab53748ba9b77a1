"""Every device has the mean and the standard deviation that its docstring states."""

from __future__ import annotations

import math

import pytest
import torch
from reference.statistics import assert_moments

from everychip import devices, rng_for
from everychip.errors import ConfigError

CONDUCTANCES = (0.0, 0.2, 0.5, 0.8, 1.0)
CELLS = 40_000


def program(device, g, cells=CELLS, seed=0):
    return device.program(torch.full((cells,), g), rng_for(seed, device.label, str(g)))


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_gaussian_adds_the_same_sigma_everywhere(g):
    assert_moments(program(devices.Gaussian(sigma=0.07), g), mean=g, std=0.07)


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_mismatch_scales_with_the_conductance(g):
    assert_moments(program(devices.Mismatch(sigma=0.3), g), mean=g, std=0.3 * g)


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_log_normal_has_the_moments_of_the_log_normal_law(g):
    mean, std = math.exp(0.4**2 / 2), math.sqrt((math.exp(0.4**2) - 1) * math.exp(0.4**2))
    assert_moments(program(devices.LogNormal(sigma=0.4), g), mean=g * mean, std=g * std)
    assert float(devices.LogNormal(sigma=0.4).std(torch.tensor(g))) == pytest.approx(g * std, rel=1e-6)


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_the_presets_of_relative_noise_have_the_sigma_of_their_source(g):
    assert_moments(program(devices.preset("Mismatch-Buechel"), g), mean=g, std=0.3 * g)
    grown = g * math.exp(0.125)  # σ = 0.5: the mean is e^{σ²/2}, the variance (e^{σ²} − 1)·e^{σ²}
    assert_moments(program(devices.preset("LogNormal-CorrectNet"), g), mean=grown, std=grown * 0.53294)


@pytest.mark.parametrize(
    "effects",
    [
        (devices.Gaussian(sigma=0.2), devices.StuckAt(p0=0.1, p1=0.05)),
        (devices.StuckAt(p0=0.1, p1=0.05), devices.LogNormal(sigma=0.4), devices.Gaussian(sigma=0.1)),
    ],
    ids=lambda effects: "+".join(device.kind for device in effects),
)
@pytest.mark.parametrize("g", CONDUCTANCES)
def test_a_sequence_knows_the_moments_of_its_effects_together(effects, g):
    device = devices.Sequence(devices=effects)
    target = torch.tensor(g)
    mean, std = float(device.mean(target)), float(device.std(target))
    assert_moments(program(device, g, cells=200_000), mean=mean, std=std)


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_a_sequence_with_levels_that_jump_knows_its_sigma_within_two_percent(g):
    device = devices.Sequence(devices=(devices.Gaussian(sigma=0.1), devices.preset("FeFET6", sigma=0.2)))
    sample = program(device, g, cells=200_000)
    assert float(device.std(torch.tensor(g))) == pytest.approx(float(sample.std()), rel=0.02)


def test_log_normal_is_never_negative():
    assert float(program(devices.LogNormal(sigma=2.0), 0.5).min()) > 0


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_ideal_programmes_exactly(g):
    assert bool((program(devices.Ideal(), g, cells=10) == torch.tensor(g)).all())


@pytest.mark.parametrize("g", CONDUCTANCES)
def test_a_sequence_of_additive_effects_adds_their_variances(g):
    device = devices.Sequence(devices=(devices.Gaussian(sigma=0.03), devices.Gaussian(sigma=0.04)))
    assert_moments(program(device, g), mean=g, std=0.05)
    assert float(device.std(torch.tensor(g))) == pytest.approx(0.05)


def test_a_sequence_applies_each_effect_to_what_the_one_before_left():
    device = devices.Sequence(devices=(devices.LogNormal(sigma=0.5), devices.Mismatch(sigma=0.3)))
    # Independent factors: E = e^{σ²/2}, E² = e^{2σ²}(1 + ζ²).
    mean = 0.5 * math.exp(0.125)
    std = math.sqrt(0.25 * math.exp(0.5) * 1.09 - mean**2)
    assert_moments(program(device, 0.5), mean=mean, std=std)


def test_the_order_of_a_sequence_matters():
    spread, scale = devices.Gaussian(sigma=0.2), devices.Mismatch(sigma=0.5)
    quiet = devices.Sequence(devices=(scale, spread))
    loud = devices.Sequence(devices=(spread, scale))
    assert_moments(program(quiet, 0.0), mean=0.0, std=0.2)
    assert_moments(program(loud, 0.0), mean=0.0, std=0.2 * math.sqrt(1 + 0.25))


@pytest.mark.parametrize(
    "device",
    [
        devices.Gaussian(sigma=0.1),
        devices.LogNormal(sigma=0.1),
        devices.Mismatch(sigma=0.1),
        devices.preset("FeFET6", sigma=0.1),
        devices.Sequence(devices=(devices.Gaussian(sigma=0.1), devices.Mismatch(sigma=0.1))),
    ],
    ids=lambda device: device.kind,
)
def test_programming_leaves_its_target_alone_and_repeats_at_its_address(device):
    target = torch.linspace(0, 1, 101)
    kept = target.clone()
    first, second = (device.program(target, rng_for(3, "cells")) for _ in range(2))
    assert torch.equal(target, kept)
    assert torch.equal(first, second)
    assert not torch.equal(first, device.program(target, rng_for(4, "cells")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_device_answers_in_the_precision_it_is_asked_in(dtype):
    g = torch.linspace(0, 1, 5, dtype=dtype)
    for device in (devices.LogNormal(sigma=0.1), devices.preset("RRAM4", sigma=0.1)):
        assert device.program(g, rng_for(0)).dtype == device.std(g).dtype == dtype


@pytest.mark.parametrize("kind", ["gaussian", "levels", "log_normal", "mismatch"])
def test_with_sigma_changes_sigma_and_nothing_else(kind):
    device = devices.Device.parse({"kind": kind, "sigma": 0.1, "name": "mine"})
    other = device.with_sigma(0.3)
    assert (other.nominal_sigma, other.label, other.kind) == (0.3, "mine", kind)
    assert device.nominal_sigma == 0.1


def test_a_device_without_nominal_sigma_says_so():
    with pytest.raises(ConfigError, match="no nominal σ") as error:
        devices.Ideal().with_sigma(0.1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), "much", None])
@pytest.mark.parametrize("kind", ["gaussian", "levels", "log_normal", "mismatch"])
def test_a_sigma_that_is_no_width_is_refused_in_one_line(kind, sigma):
    with pytest.raises(ConfigError, match="sigma") as error:
        devices.Device.parse({"kind": kind, "sigma": sigma})
    assert "\n" not in str(error.value)


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean gaussian"):
        devices.Device.parse({"kind": "guassian", "sigma": 0.1})
    for key in ("kind", "preset"):
        with pytest.raises(ConfigError, match=rf"device\.{key}: found .*\['ideal'\]"):
            devices.Device.parse({key: ["ideal"]})


@pytest.mark.parametrize("table", ["FeFET6", {"kind": "FeFET6", "sigma": 0.1}])
def test_a_preset_in_the_place_of_a_kind_is_told_where_it_belongs(table):
    with pytest.raises(ConfigError, match=r"the preset 'FeFET6'; expected \{ preset = \"FeFET6\" \}"):
        devices.Device.parse(table)


@pytest.mark.parametrize("table", ["lab/my.toml", {"kind": "lab/my.toml"}])
def test_a_file_in_the_place_of_a_kind_is_told_where_it_belongs(table):
    with pytest.raises(ConfigError, match=r"the file 'lab/my.toml'; expected \{ file = \"lab/my.toml\" \}"):
        devices.Device.parse(table)


def test_a_subclass_of_a_uniform_device_keeps_its_own_law():
    class _Halved(devices.Gaussian):
        def deviation(self, g, rng):
            return 0.5 * super().deviation(g, rng)

    try:
        from everychip.mapping import Direct

        weight = torch.ones(20_000)
        deviation = Direct().deviation(weight, _Halved(sigma=0.2), rng_for(0))
        assert_moments(deviation, mean=0.0, std=0.1)
    finally:
        devices.Device.registry.pop(_Halved.kind)
