"""A fit finds the law that made the data, within its own standard errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference.measurements import rows, write

from everychip.device_fit import fit, read_csv
from everychip.errors import DataError

LEVELS = tuple(np.linspace(0, 1, 9))
LAWS = {
    "constant": lambda g: 0.05,
    "rising line": lambda g: 0.01 + 0.04 * g,
    "PCM, a quadratic": lambda g: (0.26348 + 1.9650 * g - 1.1731 * g**2) / 25,
    "falling": lambda g: 0.06 - 0.05 * g,
    "silent at zero": lambda g: 0.08 * g,
}


def fitted(tmp_path: Path, table, columns=("target", "measured"), **options):
    path = write(tmp_path / "measured.csv", table, columns)
    return fit(read_csv(path, unit="uS"), **options)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("smooth", [False, True], ids=["binned", "smooth"])
def test_a_known_sigma_and_bias_are_found_within_their_standard_errors(tmp_path, name, smooth):
    law, bias = LAWS[name], lambda g: 0.02 - 0.03 * g
    found = fitted(tmp_path, rows(levels=LEVELS, cell=law, bias=bias, devices=300), smooth=smooth)
    tables = found.device.law
    for level in found.times[0].levels:
        sigma = np.interp(level.g, tables.g, tables.cell_to_cell)
        # Normal samples: se(s) = σ/√(2(n − 1)), se(mean) = σ/√n; the smooth law is better than one level.
        assert abs(sigma - law(level.g)) <= 4 * law(level.g) / np.sqrt(2 * 299) + 2e-4, level.g
        mean = np.interp(level.g, tables.g, tables.bias)
        assert abs(mean - bias(level.g)) <= 4 * law(level.g) / np.sqrt(300) + 2e-4, level.g
    assert found.parts == ("cell_to_cell",)


def test_the_level_statistics_are_mean_and_standard_deviation(tmp_path):
    table = rows(levels=(0.2, 1.0), cell=lambda g: 0.05, devices=25)
    found = fitted(tmp_path, table)
    for level in found.times[0].levels:
        values = np.array([r["measured"] for r in table if abs(r["target"] / 25 - level.g) < 1e-9]) / 25
        assert level.found.mean == pytest.approx(values.mean() - level.g)
        assert level.sigma == pytest.approx(values.std(ddof=1))
        assert level.sigma_error == pytest.approx(values.std(ddof=1) / np.sqrt(2 * 24))


def test_device_cycle_and_die_parts_are_told_apart(tmp_path):
    device, cycle, die = (lambda g: 0.03 + 0.01 * g), (lambda g: 0.02), (lambda g: 0.04)
    table = rows(levels=(0, 0.5, 1), cell=device, cycle=cycle, die=die, dies=40, devices=12, cycles=4)
    found = fitted(tmp_path, table, ("target", "measured", "die", "device", "cycle"))
    assert found.parts == ("die_to_die", "device_to_device", "cycle_to_cycle")
    truth = {"die_to_die": die, "device_to_device": device, "cycle_to_cycle": cycle}
    for level in found.times[0].levels:
        for place, part in enumerate(found.parts):
            variance, error = level.found.variances[place], level.found.errors[place]
            assert abs(variance - truth[part](level.g) ** 2) <= 4 * error, (part, level.g)
            assert error < truth[part](level.g) ** 2  # the claim above can fail
    law = found.device.law
    assert law.device_to_device is not None
    assert law.device_to_device[0] == pytest.approx(0.03, rel=0.15)


def test_without_a_device_column_cycles_and_devices_stay_one_part_and_it_is_said(tmp_path):
    table = rows(levels=(0, 1), cell=lambda g: 0.03, cycle=lambda g: 0.04, devices=60, cycles=4)
    found = fitted(tmp_path, table, ("target", "measured", "cycle"))
    assert found.parts == ("cell_to_cell",)
    assert any("column device" in remark for remark in found.remarks)
    ordered = fitted(
        tmp_path, sorted(table, key=lambda r: r["cycle"]), ("target", "measured", "cycle"), same_order=True
    )
    named = fitted(tmp_path, table, ("target", "measured", "device", "cycle"))
    assert ordered.parts == named.parts == ("device_to_device", "cycle_to_cycle")
    assert ordered.device.laws == named.device.laws


def test_one_device_in_many_cycles_has_a_cycle_part_only(tmp_path):
    table = rows(levels=(0, 1), cell=lambda g: 0.5, cycle=lambda g: 0.04, devices=1, cycles=200)
    found = fitted(tmp_path, table, ("target", "measured", "cycle"))
    assert found.parts == ("cycle_to_cycle",)
    assert found.times[0].levels[0].sigma == pytest.approx(0.04, rel=0.2)


def test_a_die_that_holds_one_device_is_not_told_from_it(tmp_path):
    table = rows(levels=(0, 1), die=lambda g: 0.05, cycle=lambda g: 0.02, dies=30, devices=1, cycles=5)
    found = fitted(tmp_path, table, ("target", "measured", "die", "device", "cycle"))
    assert found.parts == ("device_to_device", "cycle_to_cycle")
    assert any("each die holds one device" in remark for remark in found.remarks)


def test_a_single_die_has_no_die_part_and_it_is_said(tmp_path):
    found = fitted(tmp_path, rows(levels=(0, 1), cell=lambda g: 0.1), ("target", "measured", "die"))
    assert found.parts == ("cell_to_cell",)
    assert found.remarks == ("die_to_die is not estimated: some level was measured on one die only",)


def test_cells_that_do_not_vary_are_a_device_without_noise(tmp_path):
    for smooth in (False, True):
        found = fitted(tmp_path, rows(levels=LEVELS, bias=lambda g: 0.01 * g, devices=12), smooth=smooth)
        assert max(found.device.law.cell_to_cell) < 1e-9
        assert found.device.law.bias[-1] == pytest.approx(0.01)
        assert found.times[0].goodness.normality is None


def test_times_that_differ_in_every_row_are_to_be_rounded(tmp_path):
    table = [row | {"time": place} for place, row in enumerate(rows(levels=(0, 1), cell=lambda g: 0.1))]
    with pytest.raises(DataError, match="round the times"):
        fitted(tmp_path, table, ("target", "measured", "time"))


def test_the_smooth_degree_follows_the_data(tmp_path):
    def degree(law):
        found = fitted(tmp_path, rows(levels=LEVELS, cell=law, devices=4000), smooth=True)
        return found.times[0].curves["cell_to_cell"].degree

    assert degree(lambda g: 0.01 + 0.3 * g - 0.25 * g**2) >= 2
    assert degree(lambda g: 0.01 + 0.3 * g) >= 1


def test_every_time_has_a_law_of_its_own(tmp_path):
    early = [r | {"time": 1} for r in rows(levels=(0, 1), cell=lambda g: 0.02, devices=50)]
    late = [r | {"time": 3600} for r in rows(levels=(0, 1), cell=lambda g: 0.08, devices=50, seed=1)]
    device = fitted(tmp_path, [*late, *early], ("target", "measured", "time")).device
    assert device.times == (1, 3600)
    assert device.time == 1
    assert device.law.cell_to_cell[0] == pytest.approx(0.02, rel=0.4)
    assert device.at(3600).law.cell_to_cell[0] == pytest.approx(0.08, rel=0.4)


def test_continuous_targets_are_put_into_bins(tmp_path):
    random = np.random.default_rng(0)
    targets = random.random(2000)
    table = [{"target": 25 * g, "measured": 25 * (g + 0.05 * random.standard_normal())} for g in targets]
    assert len(fitted(tmp_path, table).times[0].levels) == 16
    found = fitted(tmp_path, table, bins=5)
    assert [level.g for level in found.times[0].levels] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.02)
    assert all(level.sigma == pytest.approx(0.05, rel=0.15) for level in found.times[0].levels)


def test_normal_residuals_pass_and_heavy_tails_are_noticed(tmp_path):
    normal = rows(levels=(0, 0.5, 1), cell=lambda g: 0.05, devices=300)
    heavy = [dict(r) for r in normal]
    for row, t in zip(heavy, np.random.default_rng(1).standard_t(3, len(heavy)), strict=True):
        row["measured"] = row["target"] + t
    assert fitted(tmp_path, normal).times[0].goodness.normality.p > 0.01
    tails = fitted(tmp_path, heavy).times[0].goodness.normality
    assert tails.p < 1e-6
    assert tails.excess_kurtosis > 1


def test_residuals_are_standardised(tmp_path):
    columns = ("target", "measured", "die", "device", "cycle")
    table = rows(
        levels=(0, 1),
        cell=lambda g: 0.01 + g,
        cycle=lambda g: 0.1,
        die=lambda g: 1.0,
        dies=5,
        devices=50,
        cycles=3,
    )
    for chosen in (columns[:2], columns[:3], columns):
        found = fitted(tmp_path, table, chosen)
        assert found.times[0].residuals.std() == pytest.approx(1.0, abs=0.1), chosen


def test_lines_between_levels_that_are_too_far_apart_are_doubtful(tmp_path):
    law = lambda g: 0.02 + 0.1 * np.sin(np.pi * g)  # noqa: E731
    found = fitted(tmp_path, rows(levels=(0, 0.5, 1), cell=law, devices=300))
    assert found.times[0].goodness.sigma.p < 1e-6
    dense = fitted(tmp_path, rows(levels=tuple(np.linspace(0, 1, 33)), cell=law, devices=300))
    assert dense.times[0].goodness.sigma.p > 0.001
    assert dense.times[0].goodness.r2 > 0.9


@pytest.mark.parametrize(
    ("levels", "devices", "options", "words"),
    [
        ((0, 0.5, 1), 4, {}, r"found 4 measurements at 0 µS; expected at least 10"),
        ((1.0,), 40, {}, r"found one target; expected at least two"),
        ((0, 0.5, 1), 40, {"smooth": True}, r"found 3 levels; expected 4 for --smooth"),
        ((0, 0.5, 1), 40, {"same_order": True}, r"expected the column cycle"),
    ],
)
def test_too_little_data_is_refused_in_one_line(tmp_path, levels, devices, options, words):
    with pytest.raises(DataError, match=words) as error:
        fitted(tmp_path, rows(levels=levels, cell=lambda g: 0.1, devices=devices), **options)
    assert "\n" not in str(error.value)
