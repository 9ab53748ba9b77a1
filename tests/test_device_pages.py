"""Every family of devices has a page, and what its plot shows as cells follows what it shows as the fit."""

from __future__ import annotations

import math
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from reference import devices as fits

from everychip.devices import Device, presets
from everychip.hardware.hardware import Hardware

pytestmark = pytest.mark.slow  # it makes every page
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "explanation" / "devices"
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "docs" / "device_pages.py"))
PAGES: dict[str, Any] = SCRIPT["pages"]()
CELLS: int = runpy.run_path(str(ROOT / "tools" / "docs" / "device_panels.py"))["CELLS"]
TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)
EXPECTED = {
    "PCM-Nandakumar": fits.pcm,
    "PCM-Joshi": fits.joshi,
    "Hermes-1": fits.hermes_one,
    "Hermes-2": fits.hermes_two,
    "NeuRRAM-1s": lambda siemens: fits.neurram(siemens, 1),
    "NeuRRAM-1day": lambda siemens: fits.neurram(siemens, 86_400),
    "NeuRRAM-2days": lambda siemens: fits.neurram(siemens, 172_800),
    "CMO-HfOx-0.2%": fits.cmo_fine,
    "CMO-HfOx-2%": fits.cmo_coarse,
    "RRAM-Milo": fits.milo,
}


def text(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def series(kind: str) -> list[Any]:
    chosen = SCRIPT[kind]
    return [
        pytest.param(one, id=f"{name}-{one.label}")
        for name, panels in PAGES.items()
        for panel in panels
        for one in panel.series
        if isinstance(one, chosen)
    ]


def test_every_kind_and_every_preset_stands_in_the_index_beside_a_page() -> None:
    index = text("README")
    shipped = [kind for kind, one in Device.kinds().items() if one.__module__.startswith("everychip.")]
    for name in (*(f"`{kind}`" for kind in shipped), *presets()):
        rows = [line for line in index.splitlines() if line.startswith("| [") and name in line]
        assert len(rows) == 1, f"{name} stands in {len(rows)} rows of the index"
    linked = set(re.findall(r"\]\((\w+)\.md\)", index))
    assert linked == set(PAGES) == {path.stem for path in FOLDER.glob("*.md")} - {"README"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_its_plot_names_its_source_and_a_recipe_that_can_be_built(name: str) -> None:
    page = text(name)
    assert f"](plots/{name}.svg)" in page
    assert re.search(r"\bSources?:", page)
    assert "../../reference/devices.md#" in page
    for block in TOML.findall(page):
        assert Hardware.read(tomllib.loads(block), where=name)
    assert TOML.findall(page) or name == "measured"


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_plot_is_small_and_shows_the_latest_fits(name: str) -> None:
    path = FOLDER / "plots" / f"{name}.svg"
    svg = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 60_000
    assert svg.startswith("<svg")
    latest = SCRIPT["mark"](PAGES[name])
    assert svg.rstrip().endswith(latest), "run python tools/docs/device_pages.py"


def test_the_same_specification_is_made_twice() -> None:
    for name in ("pcm", "levels"):
        assert SCRIPT["specification"](PAGES[name]) == SCRIPT["specification"](PAGES[name])


@pytest.mark.parametrize("one", series("Series"))
def test_the_sampled_sigma_follows_the_line(one: Any) -> None:
    for x, row in zip(one.at, one.points(), strict=True):
        cells = one.sample(x)
        fourth = float((cells - cells.mean()).pow(4).mean())
        error = math.sqrt(max(fourth - float(cells.var()) ** 2, 0.0) / CELLS) / max(2 * row["y"], 1e-12)
        # Four standard errors of a sampled σ, and the rounding of the plot.
        assert abs(row["y"] - one.fit(x)) <= 4 * error + 1e-3 * one.fit(x) + 1e-12, f"at {x:g}"


@pytest.mark.parametrize("one", series("Ageing"))
def test_the_sampled_cells_age_as_the_line_does(one: Any) -> None:
    for row in one.points():
        time = row["x"]
        mean = one.mean(time) - (one.target if one.moved_only else 0.0)
        spread = one.std(time)
        assert abs(row["y"] - mean) <= 4 * spread / math.sqrt(CELLS) + 1e-3 * abs(mean)
        # Over four standard errors of a normal σ, because decays are skewed; or the plot's rounding.
        rounding = 5e-4 * max(abs(row["low"]), abs(row["high"]))
        assert (row["high"] - row["low"]) / 2 == pytest.approx(spread, rel=4 / math.sqrt(CELLS), abs=rounding)


def test_the_lines_are_the_fits_of_the_references() -> None:
    known = {one.values[0].label: one.values[0] for one in series("Series")}
    for name, fit in EXPECTED.items():
        low, high = known[name].span
        for x in (low, (low + high) / 2, high):
            assert known[name].fit(x) == pytest.approx(fit(x), rel=1e-9)
    for one in (param.values[0] for param in series("Ageing")):
        if one.unit == 25:
            exponent = fits.pcm_exponent(one.target / 25)
            assert one.mean(86_400) / one.target == pytest.approx(
                fits.decay_moments(*exponent, 1 + 86_400 / 20)[0], rel=1e-4
            )
        if one.unit == 20.7:
            exponent = fits.hermes_exponent(one.target / 20.7, 2)
            growth = 1 + 86_400 / 300
            assert one.mean(86_400) / one.target == pytest.approx(
                fits.decay_moments(*exponent, growth)[0], rel=1e-4
            )
