"""`everychip evaluate`: what people have is proven as it is, the digital score beside it, nothing trained."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_model

import everychip as ec
from everychip.cli import call
from everychip.study import store

HARDWARE = 'device={kind="gaussian", sigma=0.1}'
DATA = 'data={kind="digits"}'
FEW = ["--set", "evaluation.chips=3"]


CODE = """
import torch

def net(scale=1.0):
    layer = torch.nn.Linear(64, 10)
    torch.nn.init.constant_(layer.weight, scale)
    torch.nn.init.zeros_(layer.bias)
    return torch.nn.Sequential(torch.nn.Flatten(), layer)
"""


def mlp(seed: int = 3) -> torch.nn.Module:
    return ec.models.MLP(hidden=(8,)).build((1, 8, 8), 10, seed=seed)


def facts(capsys: Any, *words: str) -> dict[str, Any]:
    assert call(["evaluate", *words, "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_file_of_weights_gets_the_draws_that_python_gives(tmp_path: Path, capsys: Any) -> None:
    model, place = mlp(), tmp_path / "mine.safetensors"
    save_model(model, str(place))
    said = facts(
        capsys, str(place), "--data", "digits", "--hardware", HARDWARE, *FEW,
        "--set", "model={kind=\"mlp\", hidden=[8]}", "-o", str(tmp_path / "out"),
    )  # fmt: skip
    hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    draws = ec.evaluate(model, hw, ec.data.Digits(), chips=3, seed=0)
    assert said["conditions"][0]["mean"] == pytest.approx(float(draws.accuracy.mean()))
    splits = ec.data.Digits().load()
    with torch.no_grad():
        digital = (model(splits.test.x).argmax(1) == splits.test.y).double().mean()
    assert said["digital"] == pytest.approx(float(digital))
    stored = store.open_run(tmp_path / "out")
    assert stored.record["words"] == "not trained here"
    assert set(stored.draws()["sigma_train"]) == {None}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8").replace("&nbsp;", " ")
    assert f"digital network {100 * said['digital']:.1f} %" in page


def test_a_function_of_one_s_own_is_evaluated_and_other_weights_are_another_run(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_here.py").write_text(CODE)
    words = ("mine_here:net", "--data", "digits", "--hardware", HARDWARE, *FEW)
    first = facts(capsys, *words)
    again = facts(capsys, *words)
    other = facts(capsys, *words, "--set", "model.arguments.scale=2.0")
    assert first == again
    assert other["run"] != first["run"]


def test_a_recipe_with_a_start_is_measured_as_it_is_and_another_says_what_to_do(
    tmp_path: Path, capsys: Any
) -> None:
    save_model(mlp(), str(tmp_path / "mine.safetensors"))
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'start = "mine.safetensors"\nmodel = { kind = "mlp", hidden = [8] }\ndata = "digits"\n'
        'method = "noise_injection"\n[hardware]\ndevice = { kind = "gaussian", sigma = 0.1 }\n'
    )
    said = facts(capsys, str(recipe), *FEW, "-o", str(tmp_path / "out"))
    words = (str(tmp_path / "mine.safetensors"), "--data", "digits", "--hardware", HARDWARE, *FEW)
    same = ("--set", 'model={kind="mlp", hidden=[8]}', "--set", "hardware.mapping=bit_sliced")
    direct = facts(capsys, *words, *same, "-o", str(tmp_path / "direct"))
    assert said["conditions"] == direct["conditions"]
    for untrained, line in (
        ("digits", "found a recipe without start = …, .*; everychip run digits trains it"),
        (str(recipe.with_name("none.toml")), "found no such file"),
        ("demo", "found a study: many runs; .*everychip study demo"),
    ):
        assert call(["evaluate", untrained]) == 2
        assert re.search(line, " ".join(capsys.readouterr().err.split()))


def test_a_run_and_an_entry_of_the_zoo_need_nothing_but_their_name(tmp_path: Path, capsys: Any) -> None:
    name = "digits-lenet-gaussian-0.3"
    said = facts(capsys, name, *FEW, "-o", str(tmp_path / "zoo"))
    proof = ec.load(name)
    assert said["digital"] == pytest.approx(proof.about.digital)
    assert said["conditions"][0]["mean"] == pytest.approx(float(proof.draws.accuracy[:3].mean()))
    harder = ("--set", "hardware.device.sigma=0.6")
    worse = facts(capsys, str(tmp_path / "zoo"), *FEW, *harder, "-o", str(tmp_path / "run"))
    assert worse["conditions"][0]["mean"] < said["conditions"][0]["mean"] - 0.1
    assert set(store.open_run(tmp_path / "zoo").draws()["sigma_train"]) == {0.3}


def test_the_terminal_says_the_digital_score_beside_the_table(tmp_path: Path, capsys: Any) -> None:
    assert call(["evaluate", "digits-lenet-gaussian-0.3", *FEW, "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "Digital network: 96.3 %, without any hardware." in out
    assert "mean ± CI" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["mine.pt"], "found a file that may be a pickle; expected a .safetensors file; convert it"),
        (["nothing-like-it"], "found no such network; expected an entry of the zoo"),
        (["torch.nn:Flatten"], "data: found nothing; expected the data that it is measured on"),
        (["torch.nn:Flatten", "--data", "digits"], "hardware: found nothing; expected the hardware"),
        (["w.safetensors"], "model: found nothing; expected which network these are the weights of"),
        (
            ["digits-lenet-gaussian-0.3", "--set", "training.epochs=2"],
            "--set training: found a key that would need a training",
        ),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], line: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["evaluate", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert line in said
    assert list(tmp_path.iterdir()) == []


def words_of(place: Path, folder: Path, *more: str) -> list[str]:
    model = ["--set", 'model={kind="mlp", hidden=[8]}']
    where = ["--data", "digits", "--hardware", HARDWARE, "-o", str(folder)]
    return ["evaluate", str(place), *where, *FEW, *model, *more]


@pytest.mark.parametrize(
    "mistake",
    [
        ("--set", "task=regression"),
        ("--set", 'evaluation.mitigation={kind="dora", images=0}'),
        ("--data", "diabetes"),
    ],
    ids=["another task", "a mitigation", "other data"],
)
def test_a_mistake_leaves_its_folder_free_for_the_mended_command(
    tmp_path: Path, capsys: Any, mistake: tuple[str, ...]
) -> None:
    place, folder = tmp_path / "mine.safetensors", tmp_path / "out"
    save_model(mlp(), str(place))
    assert call(words_of(place, folder, *mistake)) == 2
    assert not folder.exists()
    assert call(words_of(place, folder)) == 0
    assert store.is_complete(folder)
    assert call(words_of(place, folder, *mistake)) == 2
    assert store.open_run(folder).draws()["chip"], "what is complete stays"


def test_a_mistake_keeps_what_lay_in_the_folder_and_what_was_measured(tmp_path: Path, capsys: Any) -> None:
    place, folder = tmp_path / "mine.safetensors", tmp_path / "out"
    save_model(mlp(), str(place))
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert call(words_of(place, folder)) == 2
    assert (folder / "notes.txt").read_text() == "mine"
    from everychip.study.unfinished import holds_work

    partial = tmp_path / "run" / store.PARTIAL
    partial.mkdir(parents=True)
    (partial / "state.json").touch()
    assert holds_work(tmp_path / "run", trains=True) and not holds_work(tmp_path / "run", trains=False)
    (partial / "draws-0.parquet").touch()
    assert holds_work(tmp_path / "run", trains=False)


def test_the_report_says_the_command_that_was_typed_and_one_that_gives_the_same_draws(
    tmp_path: Path, capsys: Any
) -> None:
    place, folder = tmp_path / "mine.safetensors", tmp_path / "out"
    save_model(mlp(), str(place))
    words = words_of(place, folder)
    assert call(words) == 0
    capsys.readouterr()
    assert call(["report", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    typed = shlex.split(told["command"])
    assert typed[:3] == ["everychip", "evaluate", str(place)]
    assert told["repeat"] == f"everychip evaluate {folder} --output FOLDER"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "everychip evaluate" in page and "everychip run" not in page
    first = store.open_run(folder).draws()
    for n, command in enumerate((typed, shlex.split(told["repeat"].removesuffix(" --output FOLDER")))):
        again = tmp_path / f"again-{n}"
        assert call([*command[1:], "--output", str(again)]) == 0
        draws = store.open_run(again).draws()
        assert draws["accuracy"] == first["accuracy"]
        assert set(draws["sigma_train"]) == {None}, "nobody knows at which σ it was trained"
