"""Networks of the depth table have the same cells, and its page says what its draws say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from everychip.cost import estimate
from everychip.exits import MultiExit
from everychip.models import Model
from everychip.storage.table import COLUMNS, write_table
from everychip.study.grid import Study

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools" / "docs"))

import which_network  # noqa: E402

STUDY = Study.from_toml("which-network", ["data.path=anywhere"])
X = torch.zeros(1, 3, 16, 16)


def models() -> dict[str, Model]:
    base = STUDY.table()["base"]["model"]
    axis = STUDY.table()["axes"]["model"]
    return {name: Model.parse({**base, **change["model"]}) for name, change in axis.items()}


def test_all_networks_have_the_same_cells_within_three_percent():
    hardware = STUDY.expand().experiments[0].hardware
    cells = {
        name: estimate(model.build((3, 16, 16), 10), hardware, X).total("cells")
        for name, model in models().items()
    }
    assert len(cells) == 22
    assert max(cells.values()) <= 1.03 * min(cells.values())


def test_a_label_says_how_deep_its_network_is_and_of_which_kind():
    for name, model in models().items():
        network = model.build((3, 16, 16), 10)
        backbone = network.backbone if isinstance(network, MultiExit) else network
        layers = sum(p.ndim > 1 for p in backbone.parameters())
        assert layers == int(name.split()[0])
        assert isinstance(network, MultiExit) == ("exits" in name)
        inner = getattr(model, "of", model)
        assert inner.residual == ("residual" in name)


def test_the_first_part_is_one_seed_of_the_plain_networks_at_five_sigmas():
    runs = STUDY.expand().experiments
    assert len(runs) == 6 * 5
    assert {run.seed for run in runs} == {0}
    assert {run.hardware.device.nominal_sigma for run in runs} == {0.0, 0.1, 0.2, 0.3, 0.4}
    for run in runs:
        assert run.hardware.device.nominal_sigma in run.evaluation.sigma


def made_up(folder: Path, *, seeds: int) -> Path:
    """Plain networks lose by depth, residual ones do not; one chip of each seed is worse."""
    rows = []
    for model, clean, slope in (
        ("3 layers", 0.6, 0.5),
        ("10 layers", 0.8, 1.5),
        ("10 layers, residual", 0.8, 0.4),
    ):
        for sigma in (0.0, 0.4):
            for seed in range(seeds):
                for chip in range(4):
                    accuracy = clean - slope * sigma - 0.01 * (chip == 0) - 0.01 * seed
                    row = dict.fromkeys(COLUMNS)
                    row |= {"model": model, "sigma": sigma, "sigma_train": sigma, "seed": seed}
                    rows.append(row | {"chip": chip, "accuracy": accuracy})
    folder.mkdir()
    write_table(folder / "draws.parquet", {name: [row[name] for row in rows] for name in COLUMNS})
    return folder


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_says_what_its_draws_say(tmp_path, seeds):
    page = tmp_path / "docs" / "which-network.md"
    assert which_network.write(made_up(tmp_path / "which-network", seeds=seeds), page)
    text = page.read_text()
    mean = 80 - 16 - 0.25 - (1 if seeds == 3 else 0)
    named = f"10 layers, residual has the highest mean, {mean:.1f}"[:-1] in text
    assert named == (seeds == 3), "one training each names no network"
    assert ("**No network is named**" in text) == (seeds == 1)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| 3 layers", "| 10 layers", "| 10 layers, residual"]
    assert f"{mean:.1f}"[:-1] in rows[3]
    assert ("**" in rows[3]) == (seeds == 3) and "**" not in rows[1]
    assert ("over seeds" in text) == (seeds == 3)
    drawn = (page.parent / "plots" / "which-network.svg").read_text()
    assert drawn.startswith("<svg") and "residual" in drawn


def test_without_results_nothing_is_written(tmp_path, capsys):
    page = tmp_path / "page.md"
    assert not which_network.write(tmp_path / "nothing", page)
    assert not page.exists()
    assert "no results yet" in capsys.readouterr().out
