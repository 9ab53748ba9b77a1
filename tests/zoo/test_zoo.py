"""The zoo: names give trained networks whose every file is verified, and which run no code of their own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import everychip as ec
from everychip.errors import ConfigError, EverychipError, MissingExtraError, StoreError
from everychip.storage.files import SEAL, digest, write_record
from everychip.zoo import shipped
from everychip.zoo.places import FILES
from everychip.zoo.writing import write_entry

NAME, BESIDE = "digits-lenet-gaussian-0.3", "digits-lenet-vanilla"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    shutil.copytree(shipped()[NAME], folder)
    return folder


def seal(folder: Path, **change: Any) -> None:
    """Write entry.json anew, with the hashes of the files as they are: what an author could publish."""
    about = json.loads((folder / "entry.json").read_text())
    about.pop(SEAL)
    hashes = {name: digest(folder / name) for name in FILES}
    write_record(folder / "entry.json", {**about, "sha256": hashes, **change})


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_entry_loads_and_says_what_its_draws_say(name: str) -> None:
    entry = ec.load(name)
    assert entry.name == name
    assert not entry.model.training
    assert entry.about.mean == pytest.approx(float(entry.draws.accuracy.mean()))
    assert f"{100 * entry.about.mean:.2f} %" in entry.card
    assert f"{100 * entry.about.digital:.2f} %" in entry.card
    assert sum(path.stat().st_size for path in entry.folder.iterdir()) < 2_000_000
    assert all(
        path.suffix in (".toml", ".safetensors", ".parquet", ".md", ".json")
        for path in entry.folder.iterdir()
    )


def test_all_entries_together_leave_the_package_of_a_reasonable_size() -> None:
    files = [path for folder in shipped().values() for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) < 40_000_000


@pytest.mark.parametrize("name", [NAME, BESIDE])
def test_the_draws_of_an_entry_are_made_again_by_evaluate(name: str) -> None:
    entry = ec.load(name)
    again = ec.evaluate(
        entry.model, entry.hardware, entry.experiment.data, chips=3, seed=entry.experiment.seed
    )
    assert torch.allclose(again.accuracy, entry.draws.accuracy[:3], atol=0.004)  # two images of 540


def test_the_robust_network_stands_clearly_above_the_vanilla_one() -> None:
    difference = ec.load(NAME).draws.compare(ec.load(BESIDE).draws)
    assert difference.difference.low > 0.3


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_in_any_file_is_refused(file: str, copy: Path) -> None:
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(bytes(content))
    with pytest.raises(StoreError, match=r"SHA-256 in entry\.json"):
        ec.load(copy)
    (copy / file).unlink()
    with pytest.raises(StoreError, match="no such file"):
        ec.load(copy)


def test_a_changed_claim_is_refused(copy: Path) -> None:
    text = (copy / "entry.json").read_text()
    (copy / "entry.json").write_text(text.replace('"mean": 0.9', '"mean": 0.99'))
    with pytest.raises(StoreError, match="SHA-256"):
        ec.load(copy)
    (copy / "entry.json").write_text(text)
    seal(copy, mean=0.99)
    with pytest.raises(StoreError, match="does not describe"):
        ec.load(copy)


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / "recipe.toml").read_text()
    assert old in text
    (folder / "recipe.toml").write_text(text.replace(old, new))


HOSTILE: dict[str, Callable[[Path], None]] = {
    "code": lambda f: rewrite(f, 'kind = "lenet"', 'kind = "factory"\ncall = "os:getcwd"'),
    "file": lambda f: rewrite(f, "[hardware.device]", '[hardware.device]\nfile = "/etc/passwd"'),
    "start": lambda f: rewrite(f, "seed = 0", 'seed = 0\nstart = "/etc/passwd"'),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_recipe_that_names_code_or_files_is_refused_before_anything_of_it_runs(
    kind: str, copy: Path
) -> None:
    HOSTILE[kind](copy)
    seal(copy)
    with pytest.raises(ConfigError, match="code or a file of its author's machine"):
        ec.load(copy)


def test_weights_of_another_network_and_weights_that_are_not_finite_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    first = next(iter(weights))
    save_file({**weights, first: torch.full_like(weights[first], float("nan"))}, copy / "model.safetensors")
    seal(copy)
    with pytest.raises(StoreError, match="not finite"):
        ec.load(copy)
    save_file({**weights, first: weights[first][:1].clone()}, copy / "model.safetensors")
    seal(copy)
    with pytest.raises(StoreError, match="has otherwise"):
        ec.load(copy)
    (copy / "model.safetensors").write_bytes(b"\x80\x04\x95pickle")
    seal(copy)
    with pytest.raises(StoreError, match="cannot be read"):
        ec.load(copy)


def test_an_unknown_name_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {NAME}"):
        ec.load("digits-lenet-gausian-0.3")
    with pytest.raises(StoreError, match=r"without entry\.json"):
        ec.load(tmp_path)


def test_a_hub_repository_gives_the_entry_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    asked: list[Any] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        shutil.copytree(shipped()[NAME], tmp_path / NAME, dirs_exist_ok=True)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    entry = ec.load(NAME, hub="somebody/zoo", revision="v1")
    assert entry.folder == tmp_path / NAME
    assert asked == [("somebody/zoo", "v1", [f"{NAME}/entry.json", *(f"{NAME}/{file}" for file in FILES)])]
    with pytest.raises(StoreError, match="no other/entry"):
        ec.load("other", hub="somebody/zoo")
    for name, hub in (("../x", "somebody/zoo"), ("*", "somebody/zoo"), ("x", "../../etc"), ("x", "zoo")):
        with pytest.raises(ConfigError, match="owner/repository"):
            ec.load(name, hub=hub)


def test_without_the_hub_s_package_one_line_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match=r'pip install "everychip\[hub\]"'):
        ec.load(NAME, hub="somebody/zoo")


def test_an_unreachable_repository_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")

    def offline(*words: Any, **more: Any) -> str:
        raise OSError("no network\nsecond line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(EverychipError, match="no network") as error:
        ec.load(NAME, hub="somebody/zoo")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("half", [False, True])
def test_an_entry_is_made_from_a_run_and_proves_the_weights_that_it_stores(
    half: bool, tmp_path: Path
) -> None:
    quick = ["training.epochs=2", "evaluation.chips=3", "evaluation.sigma=[]", "compute.threads=1"]
    quick += ["evaluation.images=100"]  # of the run; an entry is proven on all
    ec.run_experiment(ec.Experiment.from_toml("digits", quick), tmp_path / "run")
    folder = write_entry(tmp_path / "run", tmp_path / "digits-mlp", half=half, progress=False)
    entry = ec.load(folder)
    stored = load_file(folder / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16 if half else torch.float32}
    assert all(torch.equal(stored[n].float(), v) for n, v in entry.model.state_dict().items())
    again = ec.evaluate(entry.model, entry.hardware, entry.experiment.data, chips=3)
    assert torch.equal(again.accuracy, entry.draws.accuracy)
    assert (entry.draws.images, entry.experiment.evaluation.images) == (540, None)
    with pytest.raises(StoreError, match="a folder with files"):
        write_entry(tmp_path / "run", folder)
