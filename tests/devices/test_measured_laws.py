"""Every preset samples what its own fit says: mean and σ at five conductances, in 4 standard errors."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from reference import devices as fits
from reference.statistics import assert_moments

from everychip import Hardware, devices, mapping, program, rng_for
from everychip.errors import ConfigError

CELLS = 40_000
FIVE = (0.0, 0.1, 0.35, 0.7, 1.0)
DAY = 86_400.0

# Preset → its σ in µS at a conductance in µS, and the G_max that its source names.
PROGRAMMING = {
    "PCM-Nandakumar": (fits.pcm, 25.0),
    "PCM-Joshi": (fits.joshi, 25.0),
    "Hermes-1": (fits.hermes_one, 10.35),
    "Hermes-2": (fits.hermes_two, 20.7),
    "NeuRRAM-1s": (lambda siemens: fits.neurram(siemens, 1), 40.0),
    "NeuRRAM-1day": (lambda siemens: fits.neurram(siemens, 86_400), 40.0),
    "NeuRRAM-2days": (lambda siemens: fits.neurram(siemens, 172_800), 40.0),
    "CMO-HfOx-0.2%": (fits.cmo_fine, 90.0),
    "CMO-HfOx-2%": (fits.cmo_coarse, 90.0),
    "RRAM-Milo": (fits.milo, 225.0),
}
OTHERS = {  # tested in test_levels.py, in test_laws.py, and below
    *("RRAM1", "FeFET2", "FeFET3", "RRAM4", "FeFET6"),
    *("Mismatch-Buechel", "LogNormal-CorrectNet", "MRAM-placeholder", "StuckAt-RRAM"),
}
DRIFTING = ("PCM-Nandakumar", "Hermes-1", "Hermes-2")


def written(name, **fields):
    """A preset with nothing but its programming noise."""
    quiet = {"drift": 0.0, "read_noise": 0.0} if name in DRIFTING else {}
    return devices.preset(name, **quiet, **fields)


def sample(device, g, seed=0):
    return device.program(torch.full((CELLS,), g, dtype=torch.float64), rng_for(seed, device.label, str(g)))


def test_no_preset_is_without_a_test_of_its_fit():
    assert set(devices.presets()) == {*PROGRAMMING, *OTHERS}


@pytest.mark.parametrize("g", FIVE)
@pytest.mark.parametrize("name", PROGRAMMING)
def test_a_preset_has_the_mean_and_the_sigma_of_its_fit(name, g):
    fit, g_max = PROGRAMMING[name]
    device = written(name, clip=False)
    assert device.g_max == g_max
    assert_moments(sample(device, g) * g_max, mean=g * g_max, std=fit(g * g_max))
    assert float(device.std(torch.tensor(g))) * g_max == pytest.approx(fit(g * g_max), rel=1e-4)


@pytest.mark.parametrize("g", FIVE)
@pytest.mark.parametrize("name", PROGRAMMING)
def test_a_clipped_preset_is_never_negative_and_has_the_moments_of_the_clipped_gaussian(name, g):
    fit, g_max = PROGRAMMING[name]
    device = written(name)
    cells = sample(device, g) * g_max
    mean, std = fits.clipped_moments(g * g_max, fit(g * g_max))
    assert float(cells.min()) >= 0
    assert_moments(cells, mean=mean, std=std)
    assert float(device.std(torch.tensor(g))) * g_max == pytest.approx(std, rel=2e-3)


@pytest.mark.parametrize("g", [0.02, 0.1, 0.35, 0.7, 1.0])
@pytest.mark.parametrize(("name", "t0"), [("PCM-Nandakumar", 20), ("Hermes-1", 200), ("Hermes-2", 300)])
def test_drift_alone_is_a_power_of_time_with_a_folded_normal_exponent(name, t0, g):
    exponent = fits.pcm_exponent(g) if name == "PCM-Nandakumar" else fits.hermes_exponent(g, int(name[-1]))
    device = devices.preset(name, programming_noise=0, read_noise=0, time=30 * DAY)
    decay, spread = fits.decay_moments(*exponent, (t0 + 30 * DAY) / t0)
    assert_moments(sample(device, g), mean=g * decay, std=g * spread)
    at = torch.tensor(g)
    assert (float(device.mean(at)), float(device.std(at))) == pytest.approx((g * decay, g * spread), rel=1e-2)


@pytest.mark.parametrize("time", [0.0, DAY])
@pytest.mark.parametrize("g", [0.02, 0.1, 0.35, 0.7, 1.0])
def test_the_read_noise_of_pcm_is_its_own_share_of_the_conductance(g, time):
    device = devices.preset("PCM-Nandakumar", programming_noise=0, drift=0, time=time, clip=False)
    assert_moments(sample(device, g), mean=g, std=g * fits.pcm_read(g, 20 + time))


@pytest.mark.parametrize("g", [0.05, 0.35, 1.0])
@pytest.mark.parametrize("count", [1, 2])
def test_the_read_noise_of_hermes_is_its_own(count, g):
    device = devices.preset(f"Hermes-{count}", programming_noise=0, drift=0, clip=False)
    t0, t_read = (200, 300)[count - 1], 512e-9
    share = fits.hermes_read(g, count) * math.sqrt(math.log((t0 + t_read) / (2 * t_read)))
    assert_moments(sample(device, g), mean=g, std=g * share)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("time", [0.0, 30 * DAY])
@pytest.mark.parametrize("name", DRIFTING)
def test_the_integrated_moments_of_all_effects_together_are_those_of_samples(name, time, clip):
    device = devices.preset(name, time=time, clip=clip)
    for g in FIVE:
        at = torch.tensor(g, dtype=torch.float64)
        # Linear interpolation in the table costs 1e-3 of σ; the standard errors are larger.
        assert_moments(sample(device, g), mean=float(device.mean(at)), std=float(device.std(at)))


@pytest.mark.parametrize("name", ["CMO-HfOx-0.2%", "CMO-HfOx-2%"])
@pytest.mark.parametrize("time", [1.0, 3600.0, 10 * DAY])
def test_cmo_hfox_relaxes_with_the_logarithm_of_time_and_is_read_with_noise(name, time):
    accepted = fits.cmo_fine if name.endswith("0.2%") else fits.cmo_coarse
    for g in (0.1, 0.3, 0.5, 0.75, 1.0):
        siemens = 90 * g
        relaxed = 0.4118 + 0.0420 * math.log(time)
        read = 0.02773 * math.log10(siemens) * math.sqrt(math.log((time + 1e-6) / 2e-6))
        std = math.sqrt(accepted(siemens) ** 2 + relaxed**2 + read**2)
        device = devices.preset(name, time=time, clip=False)
        assert_moments(sample(device, g) * 90, mean=siemens - 0.0890 * math.log(time), std=std)
        assert float(device.std(torch.tensor(g))) * 90 == pytest.approx(std, rel=1e-5)


def test_the_effects_of_cmo_hfox_are_switched_off_one_by_one():
    g, day = torch.tensor([0.5]), {"time": DAY, "acceptance": "2%"}
    none = devices.CmoHfox(programming_noise=0, relaxation=0, read_noise=0, **day)
    assert float(none.std(g)) == 0
    assert torch.equal(none.program(g, rng_for(0)), g)
    parts = [
        devices.CmoHfox(**{"programming_noise": 0, "relaxation": 0, "read_noise": 0, only: 1}, **day)
        for only in ("programming_noise", "relaxation", "read_noise")
    ]
    together = devices.CmoHfox(**day).program(g, rng_for(0)) - g
    alone = sum(part.program(g, rng_for(0)) - g for part in parts)
    assert torch.allclose(together, alone, atol=1e-7)


def test_switching_one_effect_of_pcm_off_leaves_the_draws_of_the_others():
    g = torch.linspace(0.1, 1, 50)
    programmed = devices.Pcm(drift=0, read_noise=0).program(g, rng_for(5))
    drifted = devices.Pcm(read_noise=0, time=DAY).program(g, rng_for(5))
    ratio = (drifted / programmed).log() / math.log((20 + DAY) / 20)
    alone = (devices.Pcm(programming_noise=0, read_noise=0, time=DAY).program(g, rng_for(5)) / g).log()
    assert torch.allclose(ratio, alone / math.log((20 + DAY) / 20), atol=1e-5)
    silent = devices.Pcm(programming_noise=0, drift=0, read_noise=0, time=DAY)
    assert torch.allclose(silent.program(g, rng_for(5)), g)
    assert float(silent.std(g).max()) < 1e-6


def test_a_chip_is_the_same_chip_at_every_time():
    model = torch.nn.Linear(30, 20)
    pcm = devices.Pcm(read_noise=0)
    chips = [
        program(model, Hardware(device=pcm.at(time), mapping=mapping.Direct()), seed=1, chip=2)[
            "weight"
        ].abs()
        for time in (0, 3600, 86_400, 31_536_000)
    ]
    held = chips[0] > 0
    for earlier, later in pairwise(chips):
        assert bool((later[held] < earlier[held]).all())
    # ln u is a line over ln(t / t0), each cell with its own slope.
    logs = [math.log1p(time / 20) for time in (0, 3600, 86_400)]
    slopes = [(chips[i][held] / chips[0][held]).log() / logs[i] for i in (1, 2)]
    assert torch.allclose(slopes[0], slopes[1], atol=1e-4)


@pytest.mark.parametrize(
    ("device", "time", "label"),
    [
        (devices.preset("PCM-Nandakumar"), 0, "PCM-Nandakumar at 0 s"),
        (devices.preset("PCM-Nandakumar"), 3600, "PCM-Nandakumar at 1 h"),
        (devices.preset("NeuRRAM-1s"), 86_400, "NeuRRAM at 1 day"),
        (devices.preset("CMO-HfOx-2%"), 172_800, "CMO-HfOx-2% at 2 days"),
        (devices.preset("Hermes-2"), 31_536_000, "Hermes-2 at 1 year"),
    ],
)
def test_the_label_tells_the_time(device, time, label):
    aged = device.at(time)
    assert (aged.label, aged.time, aged.ages) == (label, time, True)
    assert devices.Device.parse(aged.table()) == aged


def test_a_device_without_a_law_over_time_does_not_age():
    for device in (devices.Gaussian(sigma=0.1), devices.preset("RRAM-Milo"), devices.StuckAt(p0=0.1, p1=0)):
        assert not device.ages
        with pytest.raises(ConfigError, match="does not age") as error:
            device.at(1.0)
        assert "\n" not in str(error.value)


def test_a_sequence_ages_with_the_effects_that_do():
    faulty = devices.Sequence(devices=(devices.preset("PCM-Nandakumar"), devices.StuckAt(p0=0.1, p1=0.02)))
    aged = faulty.at(86_400)
    assert aged.devices == (devices.preset("PCM-Nandakumar", time=86_400), faulty.devices[1])
    assert (aged.label, aged.time) == ("PCM-Nandakumar at 1 day + stuck_at", 86_400)
    assert aged.replace(name="mine").label == "mine at 1 day"
    cells = sample(aged, 0.5)
    assert float((cells == 0).double().mean()) == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / CELLS))


@pytest.mark.parametrize("time", [0.0, 0.5, 3600.0, 90_000.0, 1e6])
def test_neurram_refuses_a_time_that_was_not_measured(time):
    with pytest.raises(ConfigError, match="nothing was measured") as error:
        devices.preset("NeuRRAM-1s").at(time)
    assert "\n" not in str(error.value)


def test_neurram_interpolates_over_the_logarithm_of_time_where_it_is_asked_to():
    asked = devices.preset("NeuRRAM-1s", interpolate="log_time")
    middle = asked.at(math.sqrt(86_400))
    for g in FIVE:
        expected = (fits.neurram(40 * g, 1) + fits.neurram(40 * g, 86_400)) / 2 / 40
        assert float(middle.spread(torch.tensor(g))) == pytest.approx(expected, rel=1e-5)
    for time in (0.5, 172_801):
        with pytest.raises(ConfigError, match="nothing was measured"):
            asked.at(time)


def test_cmo_hfox_says_nothing_of_the_first_second():
    with pytest.raises(ConfigError, match="at least 1 s"):
        devices.CmoHfox().at(0.5)


def test_the_reference_of_a_fit_stays_where_it_is_when_g_max_is_another():
    # Half the full scale: the same microsiemens, twice the fraction of G_max.
    half = devices.preset("NeuRRAM-1day", g_max=20.0, clip=False)
    for g in FIVE:
        assert_moments(sample(half, g) * 20, mean=20 * g, std=fits.neurram(20 * g, 86_400))


@pytest.mark.parametrize("name", PROGRAMMING)
def test_a_full_scale_above_what_was_measured_is_refused(name):
    with pytest.raises(ConfigError, match="highest measured") as error:
        devices.preset(name, g_max=1000.0)
    assert "\n" not in str(error.value)


def test_hermes_brings_the_numbers_of_its_scheme():
    one, two = devices.Hermes(devices=1), devices.Hermes()
    assert (one.g_max, one.t0, two.g_max, two.t0) == (10.35, 200, 20.7, 300)
    with pytest.raises(ConfigError, match="at most 10.35"):
        two.replace(devices=1)


@pytest.mark.parametrize("g", FIVE)
def test_stuck_cells_have_their_rates_and_never_overlap(g):
    device = devices.preset("StuckAt-RRAM")
    cells = np.asarray(sample(device, g))
    low, high, kept = ((cells == value).mean() for value in (0.0, 1.0, g))
    for rate, expected in ((low, 0.0904 + 0.8921 * (g == 0)), (high, 0.0175 + 0.8921 * (g == 1))):
        assert abs(rate - expected) <= 4 * math.sqrt(expected * (1 - expected) / CELLS)
    assert low + high + kept * (g not in (0, 1)) == pytest.approx(1)
    mean = 0.0175 + 0.8921 * g
    std = math.sqrt(0.0175 + 0.8921 * g**2 - mean**2)
    assert_moments(cells, mean=mean, std=std)
    assert float(device.std(torch.tensor(g))) == pytest.approx(std, rel=1e-6)


def test_faults_of_the_whole_range_of_rates_are_what_was_asked():
    for p0, p1 in ((1.0, 0.0), (0.0, 1.0), (0.4, 0.6), (0.0, 0.0)):
        cells = sample(devices.StuckAt(p0=p0, p1=p1), 0.5)
        assert float((cells == 0).double().mean()) == pytest.approx(p0, abs=0.01)
        assert float((cells == 1).double().mean()) == pytest.approx(p1, abs=0.01)
    with pytest.raises(ConfigError, match="at most 1"):
        devices.StuckAt(p0=0.6, p1=0.6)


def test_faults_strike_cells_not_weights():
    """A weight of four 2-bit cells survives whole with (1 − p)⁴, and its faults are sums of digits."""
    weight = torch.nn.Linear(100, 100, bias=False)
    sliced = mapping.BitSliced(weight_bits=8, cell_bits=2, quantize=True)
    hardware = Hardware(device=devices.StuckAt(p0=0.05, p1=0.0), mapping=sliced)
    weight.weight.data.fill_(1.0)  # every digit is 3, so that a cell stuck at 0 loses all of it
    held = program(weight, hardware, seed=0, chip=0)["weight"] * 255
    steps = held.detach().round()
    assert torch.allclose(held, steps, atol=1e-3)
    whole = float((steps == 255).double().mean())
    assert abs(whole - 0.95**4) <= 4 * math.sqrt(0.95**4 * (1 - 0.95**4) / 10_000)
    lost = {
        255 - 3 * sum(c * p for c, p in zip(c4, (1, 4, 16, 64), strict=True)) for c4 in np.ndindex(2, 2, 2, 2)
    }
    assert set(map(int, steps.flatten().tolist())) <= lost


@pytest.mark.parametrize("name", [*PROGRAMMING, "StuckAt-RRAM"])
def test_a_law_of_a_cell_is_not_scaled_to_whole_weights(name):
    device = devices.preset(name)
    with pytest.raises(ConfigError, match="law of one cell") as error:
        Hardware(device=device)
    assert "\n" not in str(error.value)
    Hardware(device=device, mapping=mapping.Direct())
    Hardware(device=device, mapping=mapping.BitSliced(quantize=True))


@pytest.mark.parametrize("g", [0.0, 1.0])
def test_mram_has_one_sigma_for_both_states_and_needs_cells_of_one_bit(g):
    device = devices.preset("MRAM-placeholder")
    assert 0.03 <= device.sigma <= 0.06
    assert_moments(sample(device, g), mean=g, std=device.sigma)
    with pytest.raises(ConfigError, match="cell_bits = 1"):
        Hardware(device=device, mapping=mapping.BitSliced(quantize=True))
    Hardware(device=device, mapping=mapping.BitSliced(quantize=True, cell_bits=1))
    assert "placeholder" in devices.presets()["MRAM-placeholder"]["source"]


@pytest.mark.parametrize("name", devices.presets())
def test_a_preset_names_its_source_its_unit_and_its_range(name):
    facts = devices.presets()[name]
    assert all(facts[key] for key in ("source", "unit", "range"))
    device = devices.preset(name, **({"sigma": 0.1} if facts["kind"] == "levels" else {}))
    if hasattr(device, "valid"):
        low, high = device.valid
        assert facts["unit"] == "µS"
        assert facts["range"].startswith(f"{low:g} … {high:g} µS")


@pytest.mark.parametrize("name", [*PROGRAMMING, "StuckAt-RRAM", "MRAM-placeholder"])
def test_a_preset_leaves_its_target_alone_and_repeats_at_its_address(name):
    device = devices.preset(name)
    target = torch.linspace(0, 1, 101)
    kept = target.clone()
    first, second = (device.program(target, rng_for(3, "cells")) for _ in range(2))
    assert torch.equal(target, kept)
    assert torch.equal(first, second)
    assert first.dtype == device.std(target).dtype == torch.float32
    assert device.program(target.reshape(101, 1), rng_for(3, "cells")).shape == (101, 1)
    assert bool(first.isfinite().all())
    assert bool(device.std(target).isfinite().all())


@pytest.mark.parametrize("name", [*PROGRAMMING, "StuckAt-RRAM"])
def test_a_network_can_be_trained_through_the_noise_of_a_preset(name):
    from everychip.hardware.chip import program_weights

    weights = {"w": torch.linspace(-1, 1, 40, requires_grad=True)}
    hardware = Hardware(device=devices.preset(name), mapping=mapping.Direct())
    chip = program_weights(weights, hardware, seed=0, path=("train", 0), gradient="pathwise")
    chip["w"].square().sum().backward()
    assert bool(weights["w"].grad.isfinite().all())
