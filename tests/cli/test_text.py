"""Recipes of any editor, streams of any encoding, and text of users that is never markup nor code."""

from __future__ import annotations

import ast
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from everychip.cli import call
from everychip.cli.watching import console
from everychip.config.component import Component, override
from everychip.config.registering import broken_plugins
from everychip.config.toml import read_toml
from everychip.errors import ConfigError
from everychip.study.experiment import Experiment

RECIPE = """data = "digits"
model = { kind = "mlp", hidden = [8] }
method = "vanilla"
hardware = { device = { kind = "gaussian", sigma = 0.2 } }
training = { epochs = 1, batch_size = 64 }
evaluation = { chips = 2 }
compute = { threads = 1 }
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path / "r.toml"


def test_a_byte_order_mark_is_no_part_of_a_recipe(recipe: Path) -> None:
    plain = read_toml(recipe)
    recipe.write_bytes(b"\xef\xbb\xbf" + RECIPE.encode())
    assert read_toml(recipe) == plain


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_stream_that_lacks_a_letter_stops_no_command(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for words in (["run", "r.toml", "--output", "o"], ["report", "o"], ["check", "r.toml"], ["devices"]):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        assert call(words) == 0
        out.flush()
        assert out.buffer.getvalue()  # type: ignore[attr-defined]


def test_the_same_run_again_says_that_nothing_was_left_to_do(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["run", "r.toml", "--output", "o"]) == 0
    assert "1 to do" in capsys.readouterr().err
    assert call(["run", "r.toml", "--output", "o"]) == 0
    assert capsys.readouterr().err == "r.toml: complete; nothing was left to do\n"


@pytest.mark.parametrize(
    "text", ["[/red]", "[red]x[/red]", "DS-CNN [lot W3/W4]", "see [/data/x]", ":smile:", "a\x1b[31mb"]
)
def test_a_title_and_a_label_are_shown_as_they_are_and_obeyed_by_no_terminal(
    recipe: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    escaped = text.replace("\x1b", "\\u001b")
    recipe.write_text(f'title = "{escaped}"\n{RECIPE}[labels]\nmethod = "{escaped}"\n')
    assert call(["run", "r.toml", "--output", "o"]) == 0
    assert call(["report", "o"]) == 0
    assert call(["sql", "o", "select distinct method from draws"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count(text.replace("\x1b", r"\x1b")) >= 2


def test_an_escape_in_what_is_printed_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("a\x1b]0;owned \x9b31m\u202e [bold]b", highlight=False)
    assert capsys.readouterr().out == "a\\x1b]0;owned \\x9b31m\\u202e [bold]b\n"


@pytest.mark.parametrize("title", ['"""\nimport os; os.system("touch pwned")\n"""', "ends in \\", '"', "'''"])
def test_a_title_in_an_exported_script_is_text_and_never_code(recipe: Path, title: str) -> None:
    from everychip.export.folder import _script

    experiment = Experiment.read({**read_toml(recipe), "title": title}, where="r")
    tree, plain = (ast.parse(_script(one)) for one in (experiment, experiment.replace(title="plain")))
    assert [ast.dump(node) for node in tree.body[1:]] == [ast.dump(node) for node in plain.body[1:]]
    assert (ast.get_docstring(tree, clean=False) or "").startswith(title)


MISTAKES = {
    "seed=-1": "seed",
    "training.epochs=0": "training.epochs",
    "training.nonsense=1": "training.nonsense",
    "method.kind=nosuch": "method.kind",
    "hardware.device.sigma=x": "hardware.device.sigma",
}


def test_every_mistake_of_a_recipe_has_its_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [word for setting in MISTAKES for word in ("--set", setting)]
    assert call(["check", "r.toml", *settings]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == sorted(f"r.toml.{at}" for at in MISTAKES.values())


def test_an_optimizer_called_unknown_is_expected_to_be_another(recipe: Path) -> None:
    """Whether names are known is no matter of the words that a user writes."""
    with pytest.raises(ConfigError) as caught:
        Experiment.from_toml(recipe, ["training.optimizer=unknown"])
    assert caught.value.expected


BIG = [
    "seed=9223372036854775808",
    "seed=" + "9" * 5000,
    "hardware.device.sigma=1e39",
    "training.passes=1e308",
]
BIG += [
    "evaluation.chips=10000000000",
    "evaluation.batch_size=100000000000000000000",
    "model.hidden=[1000000000000]",
]
BIG += ["data.size=1000000", "title=" + "[" * 10_000, "training.lr=1e39", "compute.threads=99999999999"]


@pytest.mark.parametrize("setting", BIG, ids=lambda setting: setting[:30])
def test_a_number_that_no_tensor_holds_is_refused_in_one_short_line(recipe: Path, setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Experiment.from_toml(recipe, [setting])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_more_threads_than_cores_are_refused_where_they_would_run(recipe: Path) -> None:
    experiment = Experiment.from_toml(recipe, ["compute.threads=60000"])
    with pytest.raises(ConfigError, match=r"compute\.threads: found 60000, while this machine has"):
        experiment.compute.must_be_here()


def test_a_setting_is_one_value_or_the_text_that_it_is() -> None:
    assert override({}, ["title=1\nseed=2"]) == {"title": "1\nseed=2"}
    assert override({}, ["x=[1,\n2]"]) == {"x": [1, 2]}


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_a_device_file_without_an_end_is_not_read(recipe: Path, place: str) -> None:
    import os

    os.mkfifo(recipe.parent / "pipe")
    with pytest.raises(ConfigError, match="a folder, a device or a pipe"):
        Experiment.from_toml(recipe, [f'hardware.device={{file="{place}"}}'])


def test_a_plug_in_that_cannot_be_imported_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from importlib.metadata import EntryPoint

    from everychip.methods import Method

    entry = EntryPoint("mine", "no_such_module", "everychip")
    monkeypatch.setattr("everychip.config.registering.entry_points", lambda group: [entry])
    try:
        assert "vanilla" in Method.kinds()
        with pytest.raises(ConfigError, match="plug-in mine cannot be imported"):
            Method.parse("nosuch")
    finally:
        broken_plugins.clear()


def test_a_second_class_of_a_kind_is_refused_and_the_first_stays() -> None:
    class Pet(Component, family="pet"): ...

    class Cat(Pet): ...

    with pytest.raises(ConfigError, match="a second pet of the kind 'cat'"):

        class Lion(Pet, kind="cat"): ...

    assert Pet.kinds() == {"cat": Cat}


def test_the_target_of_a_recipe_reaches_its_report(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings: list[Any] = ["--set", "evaluation.target=0.9"]
    assert call(["run", "r.toml", "--output", "o", *settings]) == 0
    capsys.readouterr()
    assert call(["report", "o"]) == 0
    assert "90 %" in capsys.readouterr().out
