"""Data and modules beside a recipe work from any working directory, and those that worked before still do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from everychip.cli import call
from everychip.config.toml import write_toml
from everychip.errors import ModelError
from everychip.study.experiment import Experiment
from everychip.study.grid import Study

RECIPE = {
    "data": {"kind": "tensors", "path": "beats.safetensors"},
    "model": {"kind": "factory", "call": "nets_beside:build"},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.1}},
    "method": "vanilla",
    "training": {"epochs": 1, "validation_chips": 1},
    "evaluation": {"chips": 2, "sigma": [0.1]},
}
CODE = "import torch\n\ndef build():\n    return torch.nn.Linear(4, {classes})\n"


def put(folder: Path, *, classes: int = 2, recipe: bool = False) -> Path:
    """Data and a module, and perhaps a recipe, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(classes))
    y = torch.arange(24) % classes
    save_file(
        {"x_train": x, "y_train": y, "x_test": x.clone(), "y_test": y.clone()}, folder / "beats.safetensors"
    )
    (folder / "nets_beside.py").write_text(CODE.format(classes=classes))
    if recipe:
        (folder / "recipe.toml").write_text(write_toml(RECIPE))
    return folder / "recipe.toml"


@pytest.fixture(autouse=True)
def no_module() -> Iterator[None]:
    yield
    sys.modules.pop("nets_beside", None)


def test_a_recipe_runs_from_anywhere_with_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = put(tmp_path / "project", recipe=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call(["run", str(recipe), "-o", "out"]) == 0
    assert call(["run", "../project/recipe.toml", "-o", "out2"]) == 0


def test_the_working_directory_wins_as_it_did_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = put(tmp_path / "project", classes=2, recipe=True)
    put(tmp_path / "here", classes=3)
    monkeypatch.chdir(tmp_path / "here")
    experiment = Experiment.from_toml(recipe)
    assert experiment.table()["data"]["path"] == "beats.safetensors"
    assert "folder" not in experiment.table()["model"]
    assert experiment.data.load().classes == 3


def test_an_id_does_not_change_where_nothing_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, recipe=True)
    monkeypatch.chdir(tmp_path)
    read = Experiment.read(RECIPE, where="a table")
    assert (
        Experiment.from_toml("recipe.toml").id == read.id == Experiment.from_toml(tmp_path / "recipe.toml").id
    )


def test_what_lies_nowhere_is_refused_under_the_name_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = put(tmp_path / "project", recipe=True)
    (tmp_path / "project" / "beats.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    assert call(["run", str(recipe), "-o", "out"]) == 2
    assert capsys.readouterr().err.startswith("error: data.path: found no file ")


def test_a_study_names_data_and_modules_in_its_base_its_axes_and_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "project")
    (tmp_path / "project" / "sub").mkdir()
    beats = (tmp_path / "project" / "beats.safetensors").read_bytes()
    (tmp_path / "project" / "sub" / "more.safetensors").write_bytes(beats)
    study = {
        "base": RECIPE,
        "axes": {"model": {"again": {"model": {"call": "nets_beside:build", "arguments": {}}}}},
        "sweep": {"data.path": ["beats.safetensors", "sub/more.safetensors"]},
    }
    (tmp_path / "project" / "study.toml").write_text(write_toml(study))
    monkeypatch.chdir(tmp_path)
    runs = Study.from_toml("project/study.toml").expand().experiments
    assert {run.table()["data"]["path"] for run in runs} == {
        "project/beats.safetensors",
        "project/sub/more.safetensors",
    }
    assert {run.table()["model"]["folder"] for run in runs} == {"project"}
    assert all(run.data.load().classes == 2 for run in runs)


def test_two_modules_of_one_name_are_never_taken_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (put(tmp_path / name, recipe=True) for name in ("one", "two"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert isinstance(Experiment.from_toml(one).model.build((4,), 2), torch.nn.Linear)
    with pytest.raises(ModelError, match="imported before"):
        Experiment.from_toml(two).model.build((4,), 2)


def test_the_code_beside_a_recipe_is_part_of_what_a_run_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = put(tmp_path / "project", recipe=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = Experiment.from_toml(recipe).model.content()
    (tmp_path / "project" / "nets_beside.py").write_text(CODE.format(classes=5))
    assert before and before != Experiment.from_toml(recipe).model.content()


@pytest.mark.parametrize(
    ("setting", "place"), [("epochs=3", "training.epochs"), ("chips=5", "evaluation.chips")]
)
def test_a_key_in_the_wrong_table_is_answered_with_the_right_one(
    capsys: pytest.CaptureFixture[str], setting: str, place: str
) -> None:
    assert call(["run", "digits", "--set", setting]) == 2
    assert f"did you mean {place}" in capsys.readouterr().err
