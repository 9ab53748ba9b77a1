"""`everychip sensitivity`: of a folder or of a recipe, in 80 columns, as JSON, and every mistake one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everychip.cli import call

SMALL = (
    *("training.epochs=2", "evaluation.chips=2", "evaluation.sigma=[0.2]", "model.hidden=[16]"),
    *("method.kind=vanilla", "training.validation_chips=1"),
)
RECIPE = ["digits", *(word for setting in SMALL for word in ("--set", setting)), "--chips", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("asked") / "run"
    assert call(["sensitivity", *RECIPE, "--output", str(place)]) == 0
    return place


def test_a_recipe_is_executed_first_and_then_asked(folder: Path) -> None:
    assert {"run.json", "sensitivity.json", "sensitivity.svg", "sensitivity.png"} <= {
        file.name for file in folder.iterdir()
    }
    assert (folder / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "sensitivity.svg").read_bytes().startswith(b"<svg")


def test_a_folder_is_asked_in_eighty_columns(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder.parent)
    assert call(["sensitivity", "run", "--chips", "3", "--all-but", "--drop", "2 points"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "what comes back" in out
    assert "reak-even" in out
    assert json.loads((folder / "sensitivity.json").read_text())["sensitivity"]["mode"] == "all_but"


def test_json_is_what_lies_in_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["sensitivity", str(folder), "--chips", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "sensitivity.json").read_text())


def test_a_target_above_the_clean_accuracy_is_refused_before_any_layer_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a layer was measured")

    monkeypatch.setattr("everychip.study.sensitivity.sensitivity", never)
    assert call(["sensitivity", str(folder), "--chips", "2", "--target", "0.9999"]) == 2
    assert "without noise is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "model.hidden=[8]"], "--set model"),
        (["--target", "1.5"], "more than 0 and less than 1"),
        (["--target", "0.5", "--drop", "1"], "both a target and a drop"),
        (["--drop", "none"], "1 point"),
        (["--output", "elsewhere"], "--output"),
        (["--chips", "1"], "chips"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chips = [] if "--chips" in arguments else ["--chips", "2"]
    assert call(["sensitivity", str(folder), *chips, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


@pytest.mark.parametrize(
    ("name", "words"), [("digist", "did you mean digits"), ("demo", "everychip study demo")]
)
def test_what_is_neither_a_run_nor_a_recipe_is_one_line(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["sensitivity", name]) == 2
    assert words in capsys.readouterr().err
