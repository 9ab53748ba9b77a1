"""Terminals of any width, streams of any encoding, JSON everywhere, examples that exist, completion."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len

import everychip as ec
import everychip.cli
from everychip.cli import call
from everychip.cli.app import app
from everychip.config.toml import write_toml
from everychip.study import recipes

RECIPE = {
    "data": "digits",
    "model": {"kind": "mlp", "hidden": [16]},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.1}},
    "method": "irs",
    "training": {"epochs": 1, "validation_chips": 1},
    "evaluation": {"chips": 3, "sigma": [0.0, 0.1]},
}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command, those of groups by both words."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())
        else:
            yield name, command


NAMES = [name for name, _ in commands()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, beside its recipe and a CSV of measured cells."""
    place = tmp_path_factory.mktemp("terminal")
    (place / "r.toml").write_text(write_toml(RECIPE))
    cells = [f"{t},{t + 0.05 * (d % 7 - 3) * (1 + t / 20):.4f}" for d in range(30) for t in range(2, 21, 3)]
    (place / "cells.csv").write_text("\n".join(["target,measured", *cells]) + "\n")
    (place / "entries").mkdir()
    networks = {seed: ec.models.MLP(hidden=(32,)).build((1, 8, 8), 10, seed=seed) for seed in range(3)}
    done = ec.benchmark(networks, "digits-mlp-gaussian-0.2@1")
    about = {"method": "σ", "recipe": "no training at all, seeds 0, 1, 2", "selection": "none"}
    done.entry(**about).write(place / "entries" / "a.json")
    assert call(["run", str(place / "r.toml"), "-o", str(place / "run")]) == 0
    return place


@pytest.mark.parametrize("name", NAMES)
def test_every_command_prints_json_and_shows_an_example_of_itself(name: str) -> None:
    command = dict(commands())[name]
    assert any("--json" in parameter.opts for parameter in command.params)
    example = command.epilog.removeprefix("Example: ")
    assert example.startswith(f"everychip {name}")
    options = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<= )-{1,2}[a-z][a-z-]*", example)) <= options


def test_examples_name_recipes_and_kinds_that_exist() -> None:
    examples = dict(command.epilog.split("everychip ")[1].split()[:2] for _, command in commands())
    assert {examples["run"], examples["study"]} <= set(recipes.shipped())
    for words in (["devices", examples["devices"]], ["methods", examples["methods"]], ["mappings", "offset"]):
        assert call([*words, "--json"]) == 0


JSON = {
    "run": ["run", "r.toml", "-o", "run"],
    "report": ["report", "run", "-o", "page.html"],
    "study": ["study", "demo", "--plan"],
    "sql": ["sql", "run", "select chip, accuracy, 0.0/0.0 as none, [1, 2] as two from draws"],
    "check": ["check", "run"],
    "cost": ["cost", "run"],
    "devices": ["devices"],
    "mappings": ["mappings"],
    "methods": ["methods"],
    "schema": ["schema"],
    "version": ["version"],
    "device fit": ["device", "fit", "cells.csv", "--unit", "uS", "-o", "fitted.toml"],
    "sensitivity": ["sensitivity", "run", "--chips", "2"],
    "export": ["export", "run", "--to", "aihwkit", "-o", "exported"],
    "evaluate": ["evaluate", "run", "-o", "proved"],
    "leaderboard": ["leaderboard", "entries", "-o", "site"],
}


def test_no_command_is_left_out_below() -> None:
    assert set(JSON) == set(NAMES) - {"demo"}  # two minutes: it prints what `report` prints


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", JSON)
def test_json_is_all_that_stands_on_standard_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    if name == "export" and find_spec("aihwkit") is None:
        pytest.skip("aihwkit is not installed, to which it exports")
    if encoding == "ascii" and name in ("device fit", "export", "sensitivity", "cost"):
        pytest.skip("they print through the same function")
    monkeypatch.chdir(folder)
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert call([*JSON[name], "--json"]) == 0
    out.flush()
    text = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found
    if encoding == "ascii" and name != "schema":  # which has patterns
        assert "?" not in re.sub(r"\w\? ", "", text)  # escaped, not spelt out


def test_every_command_prints_its_json_through_one_function() -> None:
    folder = Path(everychip.cli.__file__).parent
    said = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.py")}
    assert [name for name, text in said.items() if re.search(r"print\(\s*json\.dumps", text)] == [
        "printing.py"
    ]


def test_the_json_of_a_report_is_what_the_draws_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert call(["report", "run", "-o", "page.html", "--target", "0.5", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    query = (
        "select sigma, avg(accuracy) as mean, avg((accuracy >= 0.5)::int) as share from draws group by sigma"
    )
    assert call(["sql", "run", query, "--json"]) == 0
    asked = {row["sigma"]: row for row in json.loads(capsys.readouterr().out)}
    assert {group["sigma"] for group in groups} == set(asked) == {0.0, 0.1}
    for group in groups:
        row = asked[group["sigma"]]
        assert group["mean"]["estimate"] == pytest.approx(row["mean"], abs=1e-6)
        if group["yield"] is not None:
            assert group["yield"]["estimate"] == pytest.approx(row["share"])


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize(
    "name",
    [
        "report",
        "check",
        "devices",
        "methods",
        "mappings",
        "sql",
        "sensitivity",
        "device fit",
        "cost",
        "version",
    ],
)
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, width: int
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", str(width))
    assert call(JSON[name]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [
        line.rstrip()
        for line in lines
        if not re.match(r"(Report|Made by|Repeat|Chart|Layers|Device|Plot|Recipe): ", line)
    ]
    assert [line for line in shown if cell_len(line) > width] == []
    assert [line for line in shown if re.search(r"\S…$", line)] == []


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("name", NAMES)
def test_help_fills_the_lines_of_any_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", width)
    call([*name.split(), "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    words = lines[2 : next(n for n, line in enumerate(lines) if line.startswith("╭"))]
    for line, following in itertools.pairwise(words):
        room = width - 2 - cell_len(line) - 1
        assert not (line and following) or cell_len(following.split()[0]) > room, line


def test_a_pipe_without_a_width_gets_eighty_columns(folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    words = [sys.executable, "-m", "everychip", "methods"]
    done = subprocess.run(words, capture_output=True, env=environment, cwd=folder, check=True)
    lines = done.stdout.decode().splitlines()
    assert 70 < max(map(cell_len, lines)) <= 80
    assert "\x1b" not in done.stdout.decode()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_letter_that_a_stream_lacks_is_spelt_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.chdir(folder)
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert call(["report", "run", "-o", "page.html"]) == 0
    out.flush()
    text = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "sigma" in text
    assert "?" not in text
    assert ("±" if encoding == "cp1252" else "+-") in text


def test_tab_completes_commands(folder: Path) -> None:
    asked = {"_EVERYCHIP_COMPLETE": "complete_bash", "COMP_WORDS": "everychip sens", "COMP_CWORD": "1"}
    words = [sys.executable, "-m", "everychip"]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **asked}, cwd=folder, check=False)
    assert done.stdout.decode().split() == ["sensitivity"]


def test_version_names_what_a_report_of_a_fault_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["version"]) == 0
    assert re.fullmatch(r"everychip \S+\ntorch \S+\npython \S+\n", capsys.readouterr().out)
