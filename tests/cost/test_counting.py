"""Cells, tiles, reads and conversions against counts by hand and against what the package itself holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import everychip as ec
from everychip.array import Array
from everychip.array.product import Product
from everychip.array.tiles import tiling
from everychip.cost import estimate
from everychip.cost.components import Components
from everychip.cost.counting import Format, count, format_of
from everychip.cost.estimate import estimate_matrices, published_format
from everychip.cost.matrices import Matrix, matrices
from everychip.devices import Gaussian
from everychip.mapping import BitSliced, Direct

GAUSSIAN = Gaussian(sigma=0.1)
TINY = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5))
IMAGE = torch.ones(2, 2, 5, 5)


def test_a_tiny_network_by_hand() -> None:
    hw = ec.Hardware(
        device=GAUSSIAN,
        mapping=BitSliced(weight_bits=4, cell_bits=2),
        array=Array(rows=10, columns=8, dac_bits=3),
    )
    conv, linear = estimate(TINY, hw, IMAGE).layers
    # 3×3 kernels on 5×5: 9 positions, 3 input bits: 27 reads. A channel takes 9 of 10 rows: 2 tiles.
    # 3 outputs of 2 cells: 6 of 8 columns. 2·9 rows · 6 columns of cells.
    assert (conv.weights, conv.macs, conv.cells, conv.tiles) == (54, 9 * 54, 108, 2)
    assert conv.occupied == 108 / (2 * 80)
    assert (conv.steps, conv.array_reads, conv.rows_driven) == (27, 54, 27 * 18)
    assert (conv.columns_read, conv.conversions) == (27 * 6 * 2, 27 * 6 * 2)
    # 27 inputs: 3 tiles of 10 rows; 5 outputs of 2 cells: 10 columns, 2 tiles of 8.
    assert (linear.weights, linear.macs, linear.cells, linear.tiles) == (135, 135, 270, 6)
    assert (linear.steps, linear.array_reads, linear.rows_driven) == (3, 18, 3 * 27 * 2)
    assert (linear.columns_read, linear.conversions) == (3 * 10 * 3, 3 * 10 * 3)


def test_energy_time_and_area_of_the_tiny_network_by_hand() -> None:
    table = Components.shipped().replace(
        component=[
            {"name": "adc", "level": "unit", "per": "conversion", "power_mw": 8.0, "area_mm2": 0.8},
            {"name": "dac", "level": "unit", "per": "row", "power_mw": 4.0, "area_mm2": 0.0},
        ]
    )
    hw = ec.Hardware(device=GAUSSIAN, mapping=Direct(), array=Array(rows=128, columns=64, dac_bits=2))
    cost = estimate(TINY, hw, IMAGE, components=table)
    # 9 positions of 2 bits and 1 of 2: 18 and 2 reads; 3 and 5 conversions, 18 and 27 rows each.
    adc_pj, dac_pj = 8.0 * 100 / (8 * 128), 4.0 * 100 / (8 * 128)
    assert cost.energy_j == pytest.approx(1e-12 * (adc_pj * (18 * 3 + 2 * 5) + dac_pj * (18 * 18 + 2 * 27)))
    assert (cost.latency_s, cost.interval_s) == pytest.approx((20 * 100e-9, 18 * 100e-9))
    assert cost.area_mm2 == pytest.approx(2 * 0.8 / 8 * 64 / 128)
    assert (cost.pulses, cost.pulses_verified) == (54 + 135, 10 * (54 + 135))


@pytest.mark.parametrize("sign", ["sign_magnitude", "differential", "offset"])
@pytest.mark.parametrize(
    "mapping", [Direct(), BitSliced(weight_bits=8, cell_bits=2, quantize=True)], ids=["direct", "sliced"]
)
def test_the_cells_are_those_that_the_mapping_programs(mapping: Any, sign: str) -> None:
    hw = ec.Hardware(device=GAUSSIAN, mapping=mapping.replace(sign=sign))
    weight, columns = torch.randn(6, 4, 3, 3), hw.columns(nn.Conv2d(4, 6, 3))["weight"]
    programmed = sum(g.numel() for g in hw.mapping.conductances(weight, columns=columns))
    form = format_of(hw, array=Array(), cycles=1)
    assert count(Matrix("w", inputs=4, outputs=6, kernel=9), form).cells == programmed


@pytest.mark.parametrize(("inputs", "kernel"), [(3, 9), (64, 9), (300, 1), (5, 49), (2, 400)])
def test_the_rows_are_laid_on_tiles_as_the_array_lays_them(inputs: int, kernel: int) -> None:
    side = int(kernel**0.5)
    weight = torch.zeros(1, inputs, side, side)
    laid = tiling(Product(dims=2), weight, rows=128, columns=128).rows
    assert count(Matrix("w", inputs=inputs, outputs=1, kernel=kernel), Format()).tiles == len(laid)


def test_depthwise_groups_share_a_tile_along_its_diagonal() -> None:
    # 9 rows and 4 columns a group: 14 groups on 128 rows, not the 32 that its columns would hold.
    found = count(Matrix("w", inputs=1, outputs=1, kernel=9, groups=32), Format(slices=4))
    assert found.tiles == 3
    assert found.conversions == 32 * 4
    assert found.cells == 32 * 9 * 4


def test_slices_that_are_added_before_the_conversion_are_converted_once() -> None:
    matrix = Matrix("w", inputs=16, outputs=10)
    apart, together = (count(matrix, Format(slices=4, together=each)) for each in (False, True))
    assert (apart.conversions, together.conversions) == (40, 10)
    assert apart.cells == together.cells


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recur, self.out = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.recur(x)[0][:, -1])


@pytest.mark.parametrize(
    ("model", "sample"),
    [
        (TINY, IMAGE),
        (nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)), torch.ones(1, 4, 5, 5)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, stride=2)), torch.ones(1, 4, 9, 9)),
        (Last(), torch.ones(2, 5, 6)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.ones(1, 7, 8)),
    ],
    ids=["tiny", "transposed", "grouped", "lstm", "attention"],
)
def test_the_matrices_hold_the_weights_and_macs_that_check_counts(model: nn.Module, sample: Tensor) -> None:
    hw = ec.Hardware(device=GAUSSIAN)
    rows = [row for row in ec.check(model, hw, sample).rows if row.crossbar]
    found = matrices(model, hw, sample)
    assert [(m.name, m.weights, m.macs) for m in found] == [(r.name, r.parameters, r.macs) for r in rows]


def vgg16() -> list[Matrix]:
    """Configuration D of Simonyan and Zisserman, on images of 224 × 224."""
    found, inputs, side = [], 3, 224
    for n, outputs in enumerate(
        (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
    ):
        if outputs:
            found.append(Matrix(f"conv{n}", inputs, outputs, kernel=9, vectors=side * side))
            inputs = outputs
        else:
            side //= 2
    sizes = ((inputs * side * side, 4096), (4096, 4096), (4096, 1000))
    return found + [Matrix(f"linear{n}", *size) for n, size in enumerate(sizes)]


def test_vgg_16_on_isaac_needs_five_chips_and_little_more_than_its_peak_efficiency() -> None:
    table, network = Components.shipped(), vgg16()
    assert sum(matrix.weights for matrix in network) == 138_344_128
    assert sum(matrix.macs for matrix in network) == 15_470_264_320
    form = published_format(table)
    assert form is not None
    cost = estimate_matrices(network, form, table)
    least = 138_344_128 * 8 / 128**2
    assert least < cost.total("tiles") < 1.02 * least
    assert cost.chips == 5
    assert 1.0 < cost.energy_j / cost.full_use_j < 1.25
