"""Committed results are what they say: complete, readable, and the source of every table in docs/results."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from everychip.config.toml import read_toml
from everychip.report import load, to_markdown
from everychip.storage.table import query
from everychip.study.grid import Study

pytestmark = pytest.mark.slow  # it reads every committed result
ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/study.json"))
BOARDS = [path.stem for path in sorted((ROOT / "src" / "everychip" / "recipes").glob("leaderboard-*.toml"))]
FILL = runpy.run_path(str(ROOT / "tools" / "docs" / "fill_tables.py"))
DRAWN = runpy.run_path(str(ROOT / "tools" / "docs" / "leaderboard_plots.py"))
NEFT = ROOT / "results" / "neft-vgg8-mnist-quarter"


def test_there_are_results() -> None:
    assert NEFT in FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_results_page_is_what_report_prints(folder: Path) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8").endswith(to_markdown(load(folder)))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_committed_recipe_is_the_shipped_one_and_has_the_runs_of_the_study(folder: Path) -> None:
    shipped = ROOT / "src" / "everychip" / "recipes" / f"{folder.name}.toml"
    assert read_toml(folder / "recipe.toml") == read_toml(shipped)
    planned = [
        experiment.labels for experiment in Study.from_toml(str(folder / "recipe.toml")).expand().experiments
    ]
    done = [run["labels"] for run in json.loads((folder / "study.json").read_text(encoding="utf-8"))["runs"]]
    assert sorted(planned, key=str) == sorted(done, key=str)


def test_every_row_of_the_page_on_feedback_stands_in_a_report() -> None:
    page = (ROOT / "docs" / "results" / "does-feedback-help.md").read_text(encoding="utf-8")
    reports = {line for folder in FOLDERS for line in (folder / "README.md").read_text("utf-8").splitlines()}
    shown = [line for line in page.splitlines() if line.startswith(("| no ramp, no clip", "| ramp"))]
    assert shown
    assert set(shown) <= reports


def test_every_page_with_results_asks_for_its_tables() -> None:
    asked = {page.stem for page in FILL["pages"]()}
    pages = (
        "analog-foundation benchmarks buechel-table-1 does-feedback-help leaderboards multi-exit statistics"
    )
    pages += " after-programming the-bars what-survives where-time-goes which-network zoo other-simulators"
    pages += " many-machines"
    assert asked == set(pages.split())


@pytest.mark.parametrize("page", FILL["pages"](), ids=lambda page: page.stem)
def test_a_table_is_what_its_script_makes_of_the_committed_draws(page: Path) -> None:
    words = page.read_text(encoding="utf-8")
    assert FILL["filled"](words) == words, "make docs writes it"
    for mark in FILL["MARK"].finditer(words):
        assert mark.group(4).count("\n") > 2, f"{page.name}: {mark.group(0)[:60]} has no rows"


@pytest.mark.parametrize("name", ["leaderboards", "feedback"])
def test_a_plot_of_the_leaderboards_shows_the_committed_draws(name: str) -> None:
    panels, _ = DRAWN["plots"]()[name]
    svg = (ROOT / "docs" / "results" / "plots" / f"{name}.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith(DRAWN["mark"](panels)), "make docs draws it"
    assert all(panel.found for panel in panels)


@pytest.mark.parametrize("name", ["policies", "board", "ladder"])
def test_the_plot_of_a_study_shows_the_committed_draws(name: str) -> None:
    script = runpy.run_path(str(ROOT / "tools" / "docs" / f"{name}.py"))
    svg = (ROOT / "docs" / "results" / "plots" / f"{name}.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith(script["mark"]()), "make docs draws it"


@pytest.mark.parametrize("board", BOARDS)
def test_a_leaderboard_has_the_settings_that_tuning_chose(board: str) -> None:
    chosen = runpy.run_path(str(ROOT / "tools" / "docs" / "leaderboards.py"))["chosen"]()
    recipes = ROOT / "src" / "everychip" / "recipes"
    shown = read_toml(recipes / f"{board}.toml")["axes"]["method"]
    tried = read_toml(recipes / "tuning-mnist.toml")["axes"]["method"]
    assert len(chosen) > 15
    for row, (setting, _) in chosen.items():
        assert shown[row] == tried[f"{row}: {setting}"]


def test_every_leaderboard_that_was_run_is_in_the_tables() -> None:
    boards = runpy.run_path(str(ROOT / "tools" / "docs" / "leaderboards.py"))["BOARDS"]
    assert set(boards) == {folder.name for folder in FOLDERS if folder.name.startswith("leaderboard-")}


def test_the_draws_have_one_row_for_every_chip_at_every_sigma() -> None:
    columns = "method, variant, sigma_train, seed, sigma"
    counts = "count(distinct chip), count(*), min(accuracy), max(accuracy)"
    _, groups = query(NEFT / "draws.parquet", f"select {columns}, {counts} from draws group by {columns}")
    assert groups
    for row in groups:
        chips, rows, low, high = row[-4:]
        assert chips == rows == 20
        assert 0 <= low <= high <= 1


def test_filling_a_table_leaves_the_text_around_it() -> None:
    page = "before\n\n<!-- table: buechel table -->\n\nafter the table\n\nthe end\n"
    once = FILL["filled"](page)
    assert once.startswith("before\n\n<!-- table: buechel table -->\n| method |")
    assert once.endswith("|\n\nafter the table\n\nthe end\n")
    assert FILL["filled"](once) == once
