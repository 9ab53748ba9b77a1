"""Bit slicing: the published factor, real digits, and σ_W in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import hardware as reference
from reference.statistics import assert_moments

from everychip import devices, rng_for
from everychip.errors import ConfigError
from everychip.mapping import BitSliced, CellMapping

# DEVICES.md, section 1.
PUBLISHED = {(8, 2): 0.7776, (8, 1): 0.5796, (6, 2): 0.7868, (4, 2): 0.8246, (4, 1): 0.6146}
BITS = [(8, 2), (8, 1), (6, 2), (4, 2), (4, 1), (8, 8), (3, 1), (1, 1)]
DEVICES = [
    devices.Gaussian(sigma=0.1),
    devices.preset("FeFET6", sigma=0.1, level_of="cell"),
    devices.preset("RRAM4", sigma=0.1, level_of="weight"),
    devices.Mismatch(sigma=0.2),
    devices.LogNormal(sigma=0.3),
    devices.Sequence(devices=(devices.Gaussian(sigma=0.05), devices.Gaussian(sigma=0.1))),
]


@pytest.mark.parametrize(("bits", "factor"), PUBLISHED.items(), ids=str)
def test_the_factor_is_the_published_one(bits, factor):
    mapping = BitSliced(weight_bits=bits[0], cell_bits=bits[1])
    assert mapping.factor == pytest.approx(factor, abs=5.1e-5)
    assert mapping.factor == pytest.approx(reference.full_scale_factor(*bits), rel=1e-12)


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("bits", PUBLISHED, ids=str)
def test_a_gaussian_cell_gives_sigma_of_full_scale_times_the_factor(bits, quantize):
    mapping = BitSliced(weight_bits=bits[0], cell_bits=bits[1], quantize=quantize)
    weight = torch.full((40_000,), 0.3)
    weight[0] = -2.0
    deviation = mapping.deviation(weight, devices.Gaussian(sigma=0.1), rng_for(0, *bits))
    assert_moments(deviation, mean=0.0, std=2.0 * 0.1 * PUBLISHED[bits])


@pytest.mark.parametrize("value", [-1.0, -0.62, 0.0, 0.13, 0.5, 0.97])
@pytest.mark.parametrize(
    ("device", "quantize"),
    [(device, quantize) for device in DEVICES for quantize in sorted({device.needs_digits, True})],
    ids=lambda value: getattr(value, "label", value),
)
def test_sampled_weights_have_the_sigma_of_the_closed_form(device, value, quantize):
    mapping = BitSliced(weight_bits=4, cell_bits=2, quantize=quantize)
    weight = torch.full((20_000,), value)
    weight[0] = 1.0
    sample = mapping.deviation(weight, device, rng_for(1, device.label, str(value)))[1:]
    closed = mapping.std(weight, device)
    assert closed.shape == weight.shape
    mean = 0.0
    # Only the log-normal law has a mean deviation: g(e^{σ²/2} − 1) for every digit, so for the whole weight.
    if isinstance(device, devices.LogNormal):
        mean = float(mapping.target(weight)[1]) * math.expm1(0.3**2 / 2)
    assert_moments(sample, mean=mean, std=float(closed[1]))


@pytest.mark.parametrize("bits", BITS, ids=str)
@pytest.mark.parametrize("name", ["RRAM1", "FeFET6"])
def test_the_sigma_of_sliced_weights_is_the_sum_over_their_digits(bits, name):
    device = devices.preset(name, sigma=0.1, level_of="cell")
    mapping = BitSliced(weight_bits=bits[0], cell_bits=bits[1], quantize=True)
    weight = torch.randn(64, generator=rng_for(5))
    largest, top = float(weight.abs().max()), 2 ** bits[1] - 1
    sigma = {d: float(device.std(torch.tensor(d / top, dtype=torch.float64))) for d in range(top + 1)}
    expected = [reference.sliced_sigma(float(w), largest, *bits, sigma) for w in weight.double()]
    assert mapping.std(weight, device).tolist() == pytest.approx(expected, rel=1e-4)


@given(
    values=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=20),
    bits=st.sampled_from(BITS),
)
@settings(max_examples=150, deadline=None)
def test_the_digits_are_those_of_the_reference_and_rebuild_the_weight_within_half_a_step(values, bits):
    mapping = BitSliced(weight_bits=bits[0], cell_bits=bits[1], quantize=True)
    weight = torch.tensor(values, dtype=torch.float64)
    largest = float(weight.abs().max())
    cells, top = mapping.conductances(weight), 2 ** bits[1] - 1
    assert len(cells) == bits[0] // bits[1]
    found = [[round(float(cell[n]) * top) for cell in cells] for n in range(len(values))]
    expected = [reference.digits(float(w), largest, *bits) if largest else [0] * len(cells) for w in weight]
    assert found == expected
    target, step = mapping.target(weight), largest / (2 ** bits[0] - 1)
    assert float((target - weight).abs().max()) <= step / 2 * (1 + 1e-9)
    rebuilt = [
        math.copysign(sum(digit << (n * bits[1]) for n, digit in enumerate(row)) * step, float(w))
        for row, w in zip(found, weight, strict=True)
    ]
    assert target.tolist() == pytest.approx(rebuilt, abs=1e-9 * (largest + 1))


def test_the_largest_weight_and_zero_survive_rounding_exactly():
    weight = torch.tensor([0.37, -1.7, 0.0])
    target = BitSliced(quantize=True).target(weight)
    assert float(target[1]) == pytest.approx(-1.7, rel=1e-6)
    assert float(target[2]) == 0.0


def test_without_quantising_nothing_is_rounded():
    weight = torch.randn(50)
    assert torch.equal(BitSliced().target(weight), weight)


def test_the_gradient_of_rounding_is_the_identity():
    weight = torch.randn(6, 5, requires_grad=True)
    slope = torch.randn(6, 5)
    (BitSliced(weight_bits=4, cell_bits=2, quantize=True).target(weight) * slope).sum().backward()
    assert torch.equal(weight.grad, slope)


@pytest.mark.parametrize("quantize", [False, True])
def test_zero_weights_are_noisy_too(quantize):
    weight = torch.zeros(20_001)
    weight[0] = 0.5
    mapping = BitSliced(quantize=quantize)
    deviation = mapping.deviation(weight, devices.Gaussian(sigma=0.1), rng_for(0))
    assert_moments(deviation[1:], mean=0.0, std=0.5 * 0.1 * 0.7776)


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("device", DEVICES[2:5] + DEVICES[:1], ids=lambda device: device.kind)
def test_a_layer_of_zeros_stays_zero_and_finite(device, quantize):
    weight, mapping = torch.zeros(3, 4), BitSliced(quantize=quantize)
    assert torch.equal(mapping.target(weight), weight)
    assert torch.equal(mapping.deviation(weight, device, rng_for(0)), weight)
    assert torch.equal(mapping.std(weight, device), weight)


def test_mirrored_weights_have_mirrored_laws():
    device, mapping = devices.LogNormal(sigma=0.5), BitSliced(quantize=True)
    weight = torch.rand(100) + 0.1
    up, down = (mapping.deviation(w, device, rng_for(0)) for w in (weight, -weight))
    torch.testing.assert_close(up, -down)


@pytest.mark.parametrize("bits", [(8, 3), (6, 4), (2, 4)])
def test_cells_that_do_not_fill_the_weight_are_refused_in_one_line(bits):
    with pytest.raises(ConfigError, match="that cell_bits divide weight_bits") as error:
        BitSliced(weight_bits=bits[0], cell_bits=bits[1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bits", [(0, 1), (8, 0), (-8, 2), (32, 2), (2.5, 1)])
def test_impossible_bit_counts_are_refused(bits):
    with pytest.raises(ConfigError, match=r"weight_bits|cell_bits"):
        CellMapping.parse({"kind": "bit_sliced", "weight_bits": bits[0], "cell_bits": bits[1]})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_of_the_weight_is_kept(dtype):
    weight = torch.randn(4, 4, dtype=dtype)
    for mapping in (BitSliced(), BitSliced(quantize=True)):
        device = devices.preset("FeFET2", sigma=0.1)
        assert mapping.deviation(weight, device, rng_for(0)).dtype == dtype
        assert mapping.target(weight).dtype == mapping.std(weight, device).dtype == dtype


def test_the_draw_does_not_depend_on_the_memory_layout_of_the_weight():
    weight = torch.randn(6, 5, 3, 3)
    for mapping in (BitSliced(), BitSliced(quantize=True)):
        for device in (devices.Gaussian(sigma=0.1), devices.preset("FeFET6", sigma=0.1)):
            plain = mapping.deviation(weight, device, rng_for(0))
            last = mapping.deviation(weight.to(memory_format=torch.channels_last), device, rng_for(0))
            torch.testing.assert_close(plain, last, rtol=0, atol=0)
