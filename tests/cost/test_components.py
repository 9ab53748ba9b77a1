"""The table of components against what ISAAC's authors publish, and tables of a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from everychip.config.toml import write_toml
from everychip.cost import Components
from everychip.cost.estimate import estimate_matrices, published_format
from everychip.cost.matrices import Matrix
from everychip.errors import ConfigError

ISAAC = Components.shipped()
FULL = Matrix("w", inputs=126 * 128, outputs=16 * 128)
"""Fills every cell of the 168 · 12 · 8 = 126 · 128 arrays of a chip with 16-bit weights."""


def of_level(level: str, *, power: bool) -> float:
    return sum(p.power_mw if power else p.area_mm2 for p in ISAAC.component if p.level == level)


@pytest.mark.parametrize(
    ("what", "power_mw", "area_mm2"),
    [("12 IMAs", 289, 0.157), ("tile", 330, 0.372), ("168 tiles", 55_400, 62.5), ("chip", 65_800, 85.4)],
)
def test_the_components_add_up_to_the_published_totals(what: str, power_mw: float, area_mm2: float) -> None:
    found = []
    for power in (True, False):
        imas = 12 * of_level("unit", power=power)
        tile = imas + of_level("cluster", power=power)
        chip = 168 * tile + of_level("chip", power=power)
        found.append({"12 IMAs": imas, "tile": tile, "168 tiles": 168 * tile, "chip": chip}[what])
    assert found[0] == pytest.approx(power_mw, rel=2e-3)
    assert found[1] == pytest.approx(area_mm2, rel=3e-3)


def test_the_conversions_of_a_unit_are_those_of_8_adcs_of_1_28_gs() -> None:
    per_second = ISAAC.arrays_in("unit") * ISAAC.array.columns / (ISAAC.array.cycle_ns * 1e-9)
    assert per_second == pytest.approx(8 * 1.28e9)
    assert ISAAC.picojoules(ISAAC.component[0]) == pytest.approx(16e-3 / (8 * 1.28e9) * 1e12)


def test_a_full_chip_takes_the_published_power_area_and_speed() -> None:
    form = published_format(ISAAC)
    assert form is not None
    cost = estimate_matrices([FULL], form, ISAAC)
    assert (cost.total("tiles"), cost.chips, cost.occupied) == (16128, 1, 1.0)
    assert cost.energy_j / cost.latency_s == pytest.approx(65.8, rel=2e-3)
    assert cost.area_mm2 == pytest.approx(85.4, rel=2e-3)
    operations = 2 * cost.total("macs") / cost.latency_s
    assert operations == pytest.approx(41.3e12, rel=1e-3)
    assert operations / cost.area_mm2 == pytest.approx(479e9, rel=0.012)  # GOP/s/mm², published
    assert cost.energy_j == pytest.approx(cost.full_use_j, rel=3e-3)


def test_a_table_of_ones_own_takes_its_place(tmp_path: Path) -> None:
    table = ISAAC.table()
    table["component"][0]["power_mw"] *= 3
    path = tmp_path / "my.toml"
    path.write_text(write_toml({**table, "name": "mine"}))
    mine, form = Components.from_toml(path), published_format(ISAAC)
    assert form is not None
    before, after = (estimate_matrices([FULL], form, each) for each in (ISAAC, mine))
    assert after.energy_by_part[0] == pytest.approx(3 * before.energy_by_part[0])
    assert after.energy_j - before.energy_j == pytest.approx(2 * before.energy_by_part[0])
    assert after.area_mm2 == before.area_mm2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"\nsource = "y"\ncomponent = []', "component"),
        ('name = "x"\nsource = "y"\n[[component]]\nname = "a"\nlevel = "tile"\nper = "row"', "level"),
        ('name = "x"', "source"),
        ("name = ", "my.toml"),
    ],
)
def test_a_table_that_is_none_is_refused_in_a_line_for_each_mistake(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        Components.from_toml(path)
    assert all("my.toml" in line and "found" in line for line in str(error.value).splitlines())
