"""A run folder proves itself: complete, its own, unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from everychip.config.toml import write_toml
from everychip.errors import StoreError
from everychip.storage.files import digest
from everychip.study import store


@pytest.fixture
def folder(tmp_path: Path, recipe: dict[str, Any]) -> Path:
    """A complete run folder with made-up contents."""
    store.claim(tmp_path, recipe)
    (tmp_path / store.MODEL).write_bytes(b"weights")
    (tmp_path / store.DRAWS).write_bytes(b"draws")
    proofs = {name: digest(tmp_path / name) for name in (store.RECIPE, store.MODEL, store.DRAWS)}
    store.finish(tmp_path, {"id": store.run_id(recipe), "status": "above_chance"}, proofs)
    return tmp_path


def test_a_complete_run_opens(folder: Path, recipe: dict[str, Any]) -> None:
    run = store.open_run(folder)
    assert run.id == store.run_id(recipe)
    assert run.recipe() == recipe


@pytest.mark.parametrize("name", [store.RECIPE, store.MODEL, store.DRAWS])
def test_one_changed_byte_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(StoreError, match=f"{name}: found content that differs.*delete the folder"):
        store.open_run(folder)


@pytest.mark.parametrize("name", [store.RECIPE, store.MODEL, store.DRAWS])
def test_a_missing_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StoreError, match=f"{name}: found no such file"):
        store.open_run(folder)


def test_a_truncated_record_is_noticed(folder: Path) -> None:
    (folder / store.RECORD).write_text((folder / store.RECORD).read_text()[:40])
    with pytest.raises(StoreError, match="not JSON"):
        store.open_run(folder)


def test_a_record_that_lacks_its_proof_is_noticed(folder: Path) -> None:
    (folder / store.RECORD).write_text(json.dumps({"format": store.FORMAT, "id": "a"}))
    with pytest.raises(StoreError, match="no id as its format has it"):
        store.open_run(folder)


def test_a_folder_without_a_record_is_no_complete_run(tmp_path: Path, recipe: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r"no run\.json"):
        store.open_run(tmp_path)
    store.claim(tmp_path, recipe)
    with pytest.raises(StoreError, match=r"an unfinished run; .* goes on where it was"):
        store.open_run(tmp_path)
    with pytest.raises(StoreError, match="no such folder"):
        store.open_run(tmp_path / "nowhere")


def test_a_folder_of_another_recipe_is_refused(folder: Path, recipe: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="--output DIR"):
        store.claim(folder, {**recipe, "seed": 9})


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path, recipe: dict[str, Any]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="no run of everychip"):
        store.claim(tmp_path, recipe)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_title_and_labels_do_not_change_a_run(recipe: dict[str, Any]) -> None:
    named = {**recipe, "title": "another", "labels": {"method": "mine"}}
    assert store.run_id(named) == store.run_id(recipe)
    assert store.run_id({**recipe, "seed": 1}) != store.run_id(recipe)


def test_a_damaged_recipe_is_refused(tmp_path: Path, recipe: dict[str, Any]) -> None:
    (tmp_path / store.RECIPE).write_text(write_toml(recipe)[:-20] + "[[[")
    with pytest.raises(StoreError, match=r"recipe\.toml"):
        store.claim(tmp_path, recipe)
