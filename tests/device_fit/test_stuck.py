"""Cells that are stuck are suspected, and split off they leave the law of the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference.measurements import rows, write

from everychip.device_fit import fit, read_csv
from everychip.devices import Sequence
from everychip.errors import DataError
from everychip.rng import rng_for

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def measured(tmp_path, table):
    return read_csv(write(tmp_path / "measured.csv", table), unit="uS")


def with_stuck(p_low, p_high, *, seed=1, **law):
    """Cells of a known law, each stuck with known probabilities whatever its target."""
    random = np.random.default_rng(seed)
    table = rows(levels=LEVELS, cell=lambda g: 0.03, devices=200, **law)
    for row in table:
        fate = random.random()
        if fate < p_low:
            row["measured"] = 25 * 0.01 * random.standard_normal()
        elif fate > 1 - p_high:
            row["measured"] = 25 * (1 + 0.01 * random.standard_normal())
    return table


def test_stuck_cells_are_suspected_and_named(tmp_path):
    found = fit(measured(tmp_path, with_stuck(0.02, 0.01)))
    assert max(found.device.law.cell_to_cell) > 0.06
    (remark,) = [text for text in found.remarks if "stuck" in text]
    assert "--split-stuck" in remark
    assert found.stuck is None


def test_split_off_they_leave_the_law_of_the_others_and_their_own_rates(tmp_path):
    found = fit(measured(tmp_path, with_stuck(0.02, 0.01)), split_stuck=True)
    # σ of 200 normal rows has a standard error of 5 %, a rate of 800 rows one of √(p/800).
    assert found.device.law.cell_to_cell == pytest.approx([0.03] * 5, abs=4 * 0.03 * 0.05)
    assert found.stuck.p0 == pytest.approx(0.02, abs=4 * np.sqrt(0.02 / 800))
    assert found.stuck.p1 == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / 800))
    assert isinstance(found.whole, Sequence)
    drawn = found.whole.program(torch.full((100_000,), 0.5), rng_for(0, "test"))
    low, high = float((drawn < 0.25).float().mean()), float((drawn > 0.75).float().mean())
    assert (low, high) == pytest.approx((found.stuck.p0, found.stuck.p1), abs=2e-3)


@pytest.mark.parametrize("law", [lambda g: 0.03, lambda g: 0.1, lambda g: 0.01 + 0.1 * g, lambda g: 0.2 * g])
@pytest.mark.parametrize("seed", range(5))
def test_good_cells_are_not_suspected(tmp_path, law, seed):
    found = fit(measured(tmp_path, rows(levels=LEVELS, cell=law, devices=400, seed=seed)))
    assert not any("stuck" in text for text in found.remarks)


def test_splitting_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="no cell that looks stuck"):
        fit(measured(tmp_path, rows(levels=LEVELS, cell=lambda g: 0.03)), split_stuck=True)


def test_a_lowest_level_above_zero_is_the_on_off_ratio_of_the_mapping(tmp_path):
    """Targets of 2 … 100 µS: G_max / G_min = 50, and none where 0 was measured."""
    table = rows(levels=(0.02, 0.5, 1.0), cell=lambda g: 0.01, g_max=100)
    assert fit(measured(tmp_path, table)).mapping.on_off == pytest.approx(50)
    table = rows(levels=(0.0, 0.5, 1.0), cell=lambda g: 0.01)
    assert fit(measured(tmp_path, table)).mapping.on_off is None
