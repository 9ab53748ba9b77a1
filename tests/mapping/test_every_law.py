"""Every kind of device through every mapping: samples have the σ that is told, weights their whole law."""

from __future__ import annotations

import math

import pytest
import torch
from reference.statistics import assert_moments
from scipy import stats

import everychip as ec
from everychip import devices, rng_for
from everychip.devices import Device, Law, Sequence
from everychip.errors import ConfigError
from everychip.mapping import BitSliced, CellMapping, Differential, Direct, Offset

MEASURED = Law(g=(0, 1), bias=(0.02, -0.03), cell_to_cell=(0.02, 0.06))
GAUSSIAN, MISMATCH = devices.Gaussian(sigma=0.1), devices.Mismatch(sigma=0.3)
LOG_NORMAL, STUCK = devices.LogNormal(sigma=0.5), devices.StuckAt(p0=0.05, p1=0.02)
EVERY = {
    "cmo_hfox": [devices.CmoHfox(acceptance="2%", time=3600.0)],
    "gaussian": [GAUSSIAN, devices.Gaussian(sigma=0.2, negative="zero")],
    "hermes": [devices.Hermes(time=86400.0)],
    "ideal": [devices.Ideal()],
    "levels": [
        devices.preset("FeFET6", sigma=0.1),
        devices.preset("FeFET6", sigma=0.1, level_of="cell"),
        devices.preset("FeFET6", sigma=0.2, level_of="cell", negative="zero"),
    ],
    "log_normal": [LOG_NORMAL],
    "measured": [devices.Measured(laws=(MEASURED,), g_max=25.0, source="a.csv")],
    "mismatch": [MISMATCH],
    "mram": [devices.Mram()],
    "neurram": [devices.NeuRram(), devices.NeuRram(clip=False)],
    "pcm": [devices.Pcm(time=3600.0)],
    "polynomial": [devices.preset("RRAM-Milo")],
    "sequence": [
        Sequence(devices=(GAUSSIAN, devices.preset("RRAM4", sigma=0.1))),
        Sequence(devices=(GAUSSIAN, MISMATCH)),
        Sequence(devices=(MISMATCH, GAUSSIAN)),
        Sequence(devices=(GAUSSIAN, LOG_NORMAL, STUCK)),
        Sequence(devices=(STUCK, MISMATCH)),
        Sequence(devices=(devices.Ideal(), Sequence(devices=(LOG_NORMAL, GAUSSIAN)))),
    ],
    "stuck_at": [STUCK],
}
LAWS = [(f"{kind}-{n}", device) for kind, every in EVERY.items() for n, device in enumerate(every)]
MAPPINGS = {
    "direct": Direct(),
    "differential": Direct(sign=Differential(), on_off=8.0),
    "offset": BitSliced(sign=Offset()),
    "whole": BitSliced(),
    "column": BitSliced(scale="column", sign=Differential()),
    "digits": BitSliced(weight_bits=4, cell_bits=2, quantize=True),
    "bits": BitSliced(weight_bits=4, cell_bits=1, quantize=True, sign=Differential()),
}


def allowed(device: Device, mapping: CellMapping) -> bool:
    try:
        ec.Hardware(device=device, mapping=mapping)
    except ConfigError:
        return False
    return True


PAIRS = [(f"{a}-{b}", d, m) for a, d in LAWS for b, m in MAPPINGS.items() if allowed(d, m)]


def test_every_kind_of_device_is_among_them() -> None:
    own = {kind for kind, made in Device.kinds().items() if made.__module__.startswith("everychip.")}
    assert set(EVERY) == own
    assert {name.partition("-")[0] for name, _, _ in PAIRS} == set(EVERY)


@pytest.mark.parametrize(("name", "device", "mapping"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_sampled_weights_have_the_sigma_that_std_and_effective_sigma_tell(
    name: str, device: Device, mapping: CellMapping
) -> None:
    # Rows are independent even of a shared reference: many rows, and one weight of each kind per row.
    weight = torch.tensor([1.0, 0.0, -0.4, 0.9])[:, None].repeat(1, 20_000)
    sample = mapping.deviation(weight, device, rng_for(6, name))
    closed = mapping.std(weight, device)
    for row in range(4):
        values = sample[row].double()
        assert_moments(values, mean=float(values.mean()), std=float(closed[row, 0]), errors=5)
    layer = torch.nn.Linear(20_000, 4, bias=False)
    layer.weight.data = weight
    told = ec.effective_sigma(layer, ec.Hardware(device=device, mapping=mapping))
    assert told.of_max == pytest.approx(float(closed.square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(("name", "device", "mapping"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_slices_add_up_to_the_weight_and_its_deviation(
    name: str, device: Device, mapping: CellMapping
) -> None:
    weight = torch.randn(7, 5, generator=rng_for(8))
    slices = mapping.slices(weight, device, rng_for(9, name))
    target, deviation = (sum(getattr(s, part) for s in slices) for part in ("target", "deviation"))
    torch.testing.assert_close(target, mapping.target(weight))
    torch.testing.assert_close(deviation, mapping.deviation(weight, device, rng_for(9, name)))


@pytest.mark.parametrize("mapping", [BitSliced(), BitSliced(weight_bits=4, cell_bits=1), Direct()], ids=str)
def test_what_multiplies_a_weight_multiplies_all_of_it(mapping: CellMapping) -> None:
    weight = torch.randn(40, 30, generator=rng_for(1), dtype=torch.float64)
    for device, law in (
        (LOG_NORMAL, lambda noise: torch.exp(0.5 * noise)),
        (MISMATCH, lambda noise: 1 + 0.3 * noise),
    ):
        programmed = weight + mapping.deviation(weight, device, rng_for(2))
        noise = torch.empty(40, 30, dtype=torch.float64).normal_(generator=rng_for(2))
        sign = torch.where(weight < 0, -1.0, 1.0) if device.symmetric else 1.0
        torch.testing.assert_close(programmed, weight * law(noise * sign))


def test_a_chip_of_the_default_hardware_reaches_down_to_what_the_law_reaches() -> None:
    # Of 10 000 draws the least θ is about −3.7·σ: W·e^{−1.9}; a factor of slices left 0.31·W of the weight.
    layer = torch.nn.Linear(100, 100, bias=False)
    torch.nn.init.ones_(layer.weight)
    chip = ec.program(layer, ec.Hardware(device=devices.LogNormal(sigma=0.58)), seed=0, chip=0)
    theta = chip["weight"].log().flatten() / 0.58
    assert stats.kstest(theta.numpy(), "norm").pvalue > 0.01
    assert float(chip["weight"].min()) < 0.14


def test_in_a_sequence_only_what_averages_has_the_factor_of_slices() -> None:
    both = Sequence(devices=(GAUSSIAN, MISMATCH))
    weight = torch.full((60_000,), 0.5)
    weight[0] = 1.0
    factor = BitSliced().factor
    sigma = math.sqrt((0.1 * factor) ** 2 * (1 + 0.3**2) + (0.3 * 0.5) ** 2)
    assert float(BitSliced().std(weight, both)[1]) == pytest.approx(sigma, rel=1e-5)
    assert_moments(BitSliced().deviation(weight, both, rng_for(3))[1:], mean=0.0, std=sigma)
    added = Sequence(devices=(GAUSSIAN, GAUSSIAN))
    assert float(BitSliced().std(weight, added)[1]) == pytest.approx(math.sqrt(2) * 0.1 * factor, rel=1e-5)


def test_a_device_of_somebody_else_is_sorted_by_its_own_law() -> None:
    class _Even(Device):
        sigma: float

        def deviation(self, g, rng):
            return torch.empty_like(g).uniform_(-math.sqrt(3), math.sqrt(3), generator=rng) * self.sigma

        def std(self, g):
            return torch.full_like(g, self.sigma)

    class _Growing(_Even):
        def deviation(self, g, rng):
            return g * super().deviation(g, rng)

        def std(self, g):
            return g * self.sigma

    try:
        one = torch.ones(1)
        factor = BitSliced().factor
        assert float(BitSliced().std(one, _Even(sigma=0.1))) == pytest.approx(0.1 * factor)
        assert float(BitSliced().std(one, _Growing(sigma=0.1))) == pytest.approx(0.1)
        mixed = Sequence(devices=(_Even(sigma=0.3), _Growing(sigma=0.4)))
        expected = math.sqrt((0.3 * factor) ** 2 * 1.16 + 0.16)
        assert float(BitSliced().std(one, mixed)) == pytest.approx(expected, rel=1e-5)
    finally:
        for kind in (_Even.kind, _Growing.kind):
            devices.Device.registry.pop(kind)


@pytest.mark.parametrize(("name", "device"), LAWS, ids=[law[0] for law in LAWS])
def test_a_device_that_says_it_is_symmetric_has_no_skew_and_no_bias(name: str, device: Device) -> None:
    for g in (0.0, 0.3, 1.0):
        deviation = device.deviation(torch.full((60_000,), g), rng_for(4, name, str(g))).double()
        n, s = len(deviation), float(deviation.std())
        if s < 1e-9:
            continue
        middle = float(device.mean(torch.tensor([g]))) - g
        assert float(deviation.mean()) == pytest.approx(middle, abs=5 * s / math.sqrt(n) + 1e-4)
        if device.symmetric:
            assert abs(middle) < 1e-6
            standardised = deviation / s
            # The standard error of a third moment, from the sample's own sixth.
            error = float((standardised**6).mean().sqrt()) / math.sqrt(n)
            assert abs(float((standardised**3).mean())) < 4.5 * error


def test_a_sequence_is_symmetric_only_where_each_later_effect_adds_the_same_noise_everywhere() -> None:
    skewed = Sequence(devices=(GAUSSIAN.with_sigma(0.5), devices.Mismatch(sigma=1.0)))
    assert not skewed.symmetric
    draws = skewed.deviation(torch.full((200_000,), 0.5), rng_for(5)).numpy()
    assert stats.skew(draws) == pytest.approx(skew_of_added_then_scaled(0.5, 0.5, 1.0), abs=0.1)
    assert not Sequence(devices=(GAUSSIAN, devices.preset("FeFET6", sigma=0.1))).symmetric
    assert Sequence(devices=(GAUSSIAN, GAUSSIAN, devices.Ideal())).symmetric
    assert Sequence(devices=(MISMATCH, GAUSSIAN)).symmetric


def skew_of_added_then_scaled(g: float, sigma: float, zeta: float) -> float:
    """Of (g + σN)(1 + ζM) − g = A + ζM·B, B = g + A: E[…³] = 3 ζ² E[A·B²] = 6 ζ² g σ²."""
    variance = sigma**2 + zeta**2 * (g**2 + sigma**2)
    return 6 * zeta**2 * g * sigma**2 / variance**1.5


@pytest.mark.parametrize("g", [0.0, 0.05, 0.4, 1.0])
@pytest.mark.parametrize(
    "device",
    [devices.Gaussian(sigma=0.2, negative="zero"), devices.preset("FeFET3", sigma=0.2, negative="zero")],
    ids=lambda device: device.kind,
)
def test_without_negative_conductances_the_law_is_the_rectified_gaussian(device: Device, g: float) -> None:
    spread = float(device.replace(negative="keep").std(torch.tensor([g])))
    # scipy's normal law, what lies below zero moved to zero.
    law = stats.norm(g, spread)
    first, second = (law.expect(lambda x, k=k: x**k, lb=0) for k in (1, 2))
    expected = math.sqrt(second - first**2)
    cell = torch.tensor([g], dtype=torch.float64)
    assert float(device.mean(cell)) == pytest.approx(first, rel=1e-6)
    assert float(device.std(cell)) == pytest.approx(expected, rel=1e-6)
    sample = device.program(torch.full((40_000,), g), rng_for(7, str(g)))
    assert float(sample.min()) >= 0
    assert_moments(sample, mean=first, std=expected)
    assert (device.uniform_std, device.symmetric, device.needs_cells) == (None, False, True)


def test_the_choice_of_negative_conductances_is_a_law_of_cells_and_leaves_other_tables_alone() -> None:
    kept, zero = devices.Gaussian(sigma=0.1), devices.Gaussian(sigma=0.1, negative="zero")
    assert kept.table() == {"kind": "gaussian", "sigma": 0.1}
    assert zero.table() == {"kind": "gaussian", "sigma": 0.1, "negative": "zero"}
    assert Device.parse(zero.table()) == zero
    assert "negative" not in devices.preset("FeFET6", sigma=0.1).table()
    with pytest.raises(ConfigError, match=r'gaussian is a law of one cell; expected mapping = "direct"'):
        ec.Hardware(device=zero)
    with pytest.raises(ConfigError, match="negative"):
        Device.parse({"kind": "gaussian", "sigma": 0.1, "negative": "clip"})
