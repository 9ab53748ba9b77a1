"""What the converters do, against loops over tiles written out."""

from __future__ import annotations

import pytest
import torch
from reference.arrays import convert, read_convolution, read_matrix
from torch import nn

import everychip as ec
from everychip.array import Array, Ranges
from everychip.errors import ConfigError
from everychip.hardware.calibration import calibrate


def layer_of(layer, draw):
    """The layer with drawn weights, in float64."""
    layer = layer.double()
    layer.weight.data.copy_(draw(*layer.weight.shape))
    return layer


@pytest.mark.parametrize(("rows", "columns"), [(4, 3), (5, 100), (100, 2), (20, 20)])
@pytest.mark.parametrize(("dac", "adc"), [(8, 8), (3, None), (None, 4), (6, 2)])
def test_a_linear_layer_is_read_tile_by_tile(rows, columns, dac, adc, draw, outputs):
    layer, x = layer_of(nn.Linear(20, 7, bias=False), draw), draw(11, 20)
    array = Array(rows=rows, columns=columns, dac_bits=dac, adc_bits=adc)
    wanted = read_matrix(x, layer.weight.data, rows=rows, columns=columns, dac=dac, adc=adc)
    assert torch.allclose(outputs(layer, x, array, sigma=0), wanted, atol=1e-10)


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"stride": 2},
        {"padding": 1},
        {"dilation": 2},
        {"stride": 2, "padding": 2},
        {"groups": 2, "padding": 1},
        {"groups": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [5, 9, 20, 100], ids=lambda rows: f"{rows} rows")
def test_a_convolution_is_read_tile_by_tile(geometry, rows, draw, outputs):
    layer = layer_of(nn.Conv2d(6, 12, 3, bias=False, **geometry), draw)
    x = draw(2, 6, 7, 8)
    array = Array(rows=rows, columns=4, dac_bits=6, adc_bits=5)
    wanted = read_convolution(x, layer.weight.data, rows=rows, columns=4, dac=6, adc=5, **geometry)
    assert torch.allclose(outputs(layer, x, array, sigma=0), wanted, atol=1e-10)
    fast = layer.to(memory_format=torch.channels_last)
    y = outputs(fast, x.contiguous(memory_format=torch.channels_last), array, sigma=0)
    assert torch.allclose(y, wanted, atol=1e-10)


def test_a_transposed_convolution_is_that_of_its_inputs_with_zeros_between(draw, outputs):
    layer = layer_of(nn.ConvTranspose2d(6, 4, 3, stride=2, bias=False), draw)
    x = draw(2, 6, 5, 5)
    spread = torch.zeros(2, 6, 9, 9, dtype=torch.float64)
    spread[:, :, ::2, ::2] = x
    kernel = layer.weight.data.transpose(0, 1).flip(2, 3)
    wanted = read_convolution(spread, kernel, rows=20, columns=3, dac=6, adc=5, padding=2)
    y = outputs(layer, x, Array(rows=20, columns=3, dac_bits=6, adc_bits=5), sigma=0)
    assert torch.allclose(y, wanted, atol=1e-10)


def test_every_slice_has_a_conversion_of_its_own(draw, outputs):
    layer, x = layer_of(nn.Linear(20, 7, bias=False), draw), draw(11, 20)
    mapping = ec.mapping.BitSliced(weight_bits=4, cell_bits=2, quantize=True)
    w = layer.weight.data
    whole = (w.abs() / w.abs().max() * 15).round().long()
    wanted = torch.zeros(11, 7, dtype=torch.float64)
    for place in (1, 4):
        digit = (whole // place % 4) * w.sign() * w.abs().max() / 15
        wanted += place * read_matrix(x, digit, rows=8, columns=4, dac=8, adc=5)
    array = Array(rows=8, columns=4, dac_bits=8, adc_bits=5)
    assert torch.allclose(outputs(layer, x, array, sigma=0, mapping=mapping), wanted, atol=1e-10)


def test_calibrated_ranges_hold_for_other_inputs_and_clip_what_is_beyond(draw, outputs, hardware):
    layer, x, more = layer_of(nn.Linear(20, 7, bias=False), draw), draw(50, 20), 3 * draw(30, 20)
    array = Array(rows=8, columns=4, dac_bits=8, adc_bits=5)
    ranges = calibrate(layer, hardware(array, sigma=0), (x, torch.zeros(50, dtype=torch.long))).array.ranges
    w, full = layer.weight.data, float(x.abs().max())
    read = convert(x, full, 8)
    sums = [
        [float((read[:, i : i + 8] @ w[j : j + 4, i : i + 8].T).abs().max()) for j in (0, 4)]
        for i in (0, 8, 16)
    ]
    known = ranges["weight"]
    assert known.dac == pytest.approx(full)
    assert torch.allclose(torch.tensor(known.adc[0]), torch.tensor(sums))
    wanted = read_matrix(
        more, w, rows=8, columns=4, dac=8, adc=5, full_inputs=known.dac, full_sums=known.adc[0]
    )
    y = outputs(layer, more, array.replace(ranges=ranges), sigma=0)
    assert torch.allclose(y, wanted, atol=1e-10)
    for n in (0, 13):  # one input alone gives what it gives in the batch
        alone = outputs(layer, more[n : n + 1], array.replace(ranges=ranges), sigma=0)
        assert torch.allclose(alone, y[n : n + 1], atol=1e-10)


def test_the_error_stays_below_half_a_step_for_every_tile(draw, outputs, hardware):
    layer, x = layer_of(nn.Linear(64, 5, bias=False), draw), draw(100, 64)
    array = Array(rows=16, columns=5, adc_bits=6)
    ranges = calibrate(layer, hardware(array, sigma=0), (x, torch.zeros(100, dtype=torch.long))).array.ranges
    bound = sum(tile / (2**5 - 1) / 2 for [tile] in ranges["weight"].adc[0])
    error = (outputs(layer, x, array, sigma=0) - x @ layer.weight.data.T).abs().max()
    assert bound / 4 < error <= bound


def test_a_percentile_narrows_the_range_to_that_share_of_the_sums(draw, hardware):
    layer, x = layer_of(nn.Linear(16, 4, bias=False), draw), draw(2000, 16)
    hw = hardware(Array(adc_bits=4, adc_percentile=90), sigma=0)
    found = calibrate(layer, hw, (x, torch.zeros(2000, dtype=torch.long)), images=2000).array.ranges
    sums = (x @ layer.weight.data.T).abs().flatten()
    assert found["weight"].adc[0][0][0] == pytest.approx(float(sums.quantile(0.9)), rel=1e-2)


def test_a_weight_that_is_read_twice_has_the_larger_of_both_ranges(hardware):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.layer(x) + self.layer(5 * x)

    data = (torch.eye(4), torch.arange(4))
    found = calibrate(Twice(), hardware(Array(adc_bits=4)), data).array.ranges
    assert found["layer.weight"].dac == 5.0


def test_ranges_of_other_tiles_are_refused_in_one_line(hardware, outputs):
    layer, data = nn.Linear(20, 4), (torch.randn(9, 20), torch.zeros(9, dtype=torch.long))
    known = calibrate(layer, hardware(Array(rows=8, adc_bits=4)), data).array
    with pytest.raises(ConfigError) as failure:
        outputs(layer, data[0], known.replace(rows=4))
    assert str(failure.value).startswith(
        "hardware.array.ranges.weight: found ranges of 1×3×1 tiles; expected 1×5×1"
    )


def test_ranges_are_written_into_a_recipe_and_read_back(hardware):
    data = (torch.randn(9, 20), torch.zeros(9, dtype=torch.long))
    hw = calibrate(nn.Linear(20, 4), hardware(Array(rows=8, adc_bits=4)), data)
    assert ec.Hardware.read(hw.table(), where="hardware") == hw
    assert isinstance(hw.array.ranges["weight"], Ranges)


def test_attention_has_ranges_for_each_of_its_projections(hardware):
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, 2 * x, 3 * x)[0]

    data = (torch.randn(2, 5, 8), torch.zeros(2, dtype=torch.long))
    found = calibrate(Cross(), hardware(Array(adc_bits=6)), data).array.ranges
    inputs = [one.dac for name, one in found.items() if "in_proj" in name]
    assert sorted(round(value / min(inputs)) for value in inputs) == [1, 2, 3]
