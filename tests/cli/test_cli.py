"""The command line: every command documented, every mistake one line, every number readable by programs."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len

from everychip.cli import call
from everychip.cli.app import app
from everychip.config.toml import write_toml

Run = Callable[..., tuple[int, str, str]]
COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands if command.callback)
TINY = (
    *("--set", "training.epochs=1", "--set", "evaluation.chips=2", "--set", "evaluation.sigma=[0.0,0.2]"),
    *("--set", "model.hidden=[16]", "--set", "training.validation_chips=1"),
)


@pytest.fixture
def everychip(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command line in an empty folder, in a terminal of 80 columns: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = call(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def refused(result: tuple[int, str, str]) -> str:
    """The one line of a refusal."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err


def test_the_commands_are_those_of_the_design() -> None:
    listed = "check cost demo devices evaluate export leaderboard mappings methods report run schema"
    assert [*listed.split(), "sensitivity", "sql", "study", "version"] == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_of_it_is_documented(everychip: Run, name: str) -> None:
    code, out, err = everychip(name, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: everychip {name}" in out
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert command.help.strip().endswith((".", '"'))
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


def test_help_lists_every_command_with_a_sentence_on_one_line(everychip: Run) -> None:
    code, out, _ = everychip("--help")
    assert code == 0
    for name in COMMANDS:
        assert re.search(rf"^│ {name} +\S.*\. +│$", out, re.MULTILINE), name


def test_without_a_command_help_is_printed(everychip: Run) -> None:
    code, out, err = everychip()
    assert (code, err) == (0, "")
    assert out.split() == everychip("--help")[1].split()


def test_the_version_is_the_packages(everychip: Run) -> None:
    import everychip as package

    assert everychip("--version") == (0, f"everychip {package.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "no such command 'rnu'"),
        (["run"], "missing argument"),
        (["run", "digits", "--sett", "a=1"], "--sett"),
        (["study", "demo", "--workers", "0"], "workers"),
        (["study", "demo", "--workers", "many"], "workers"),
        (["run", "digist"], "did you mean digits"),
        (["run", "nowhere.toml"], "no such file"),
        (["run", "."], "a folder"),
        (["run", "demo"], "everychip study demo"),
        (["study", "digits"], "everychip run digits"),
        (["run", "digits", "--set", "seed"], "expected key=value"),
        (["run", "digits", "--set", "=3"], "expected key=value"),
        (["run", "digits", "--set", "training.epoch=3"], "did you mean epochs"),
        (["run", "digits", "--set", "method.kind=isr"], "did you mean irs"),
        (["run", "digits", "--set", "hardware.device.kind=gausian"], "did you mean gaussian"),
        (["run", "digits", "--set", "hardware.device.preset=FeFET7"], "FeFET6"),
        (["run", "digits", "--set", "hardware.device.sigma=-1"], "digits.hardware.device.sigma"),
        (["run", "digits", "--set", "hardware.device.sigma=nan"], "digits.hardware.device.sigma"),
        (["run", "digits", "--set", "hardware.mapping.cell_bits=3"], "cell_bits"),
        (["run", "digits", "--set", "data.kind=tensors"], "data"),
        (["run", "digits", "--set", "model.kind=factory", "--set", "model.call=no_such:thing"], "no_such"),
        (["run", "digits", "--set", "model.kind=lenet", "--set", "data.size=3"], "data.size"),
        (["study", "demo", "--set", "seed=4"], "sweep.seed"),
        (["study", "demo", "--set", "sweep.seed=[]"], "seed"),
        (["demo", "--set", "axes.method.irs.method.beta=x"], "beta"),
        (["report", "nowhere"], "nowhere: found no folder"),
        (["report", "."], "neither study.json nor run.json"),
        (["sql", ".", "select 1"], "no run.json"),
        (["check", "vgg9"], "did you mean vgg8"),
        (["check", "torch.nn:ReLU"], "no matrix"),
        (["check", "torch.nn:NoSuchLayer"], "NoSuchLayer"),
        (["check", "vgg8", "--set", "hardware.digital=['conv9']"], "conv9"),
        (["devices", "fefet7"], ", FeFET2, "),
        (["methods", "isr"], "did you mean irs"),
    ],
)  # fmt: skip
def test_every_mistake_is_answered_in_one_line_and_leaves_nothing(
    everychip: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert words in refused(everychip(*arguments))
    leftovers = [path for path in tmp_path.rglob("*") if path.is_file() and "partial" not in path.parts]
    assert all(path.name == "recipe.toml" for path in leftovers)


@pytest.mark.parametrize("text", ["[data", "data = {kind=}", "\x00", "seed = 1\nseed = 2"])
def test_a_file_that_is_no_toml_is_answered_in_one_line(everychip: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    assert "bad.toml" in refused(everychip("run", "bad.toml"))
    assert "bad.toml" in refused(everychip("study", "bad.toml"))
    assert "bad.toml" in refused(everychip("check", "bad.toml"))


@pytest.mark.parametrize("command", [["run", "digits"], ["study", "demo"]])
def test_an_output_that_cannot_be_written_is_answered_in_one_line(
    everychip: Run, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "choose another one" in refused(everychip(*command, "--output", str(tmp_path / "file" / "below")))
    assert "choose another one" in refused(everychip(*command, "--output", str(tmp_path / "file")))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    assert "choose another folder" in refused(everychip(*command, "--output", str(tmp_path / "thesis")))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("command", [("run", "digits"), ("study", "demo"), ("check", "digits")])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    everychip: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refused(everychip(*command, "--set", "compute.gpu=cuda"))
    assert "compute.gpu" in line
    assert "leave compute.gpu out" in line
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_answered_in_one_line(everychip: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "draws.parquet")

    monkeypatch.setattr("everychip.storage.files.os.replace", full)
    code, _, err = everychip("run", "digits", *TINY)
    assert code == 2
    assert err.splitlines()[-1] == "error: draws.parquet: no space left on device"
    assert "Traceback" not in err


def test_a_run_is_executed_once_and_reported_and_asked(everychip: Run, tmp_path: Path) -> None:
    code, out, err = everychip("run", "digits", *TINY)
    assert code == 0
    (folder,) = (tmp_path / "everychip-runs").iterdir()
    assert f"Results: {folder.relative_to(tmp_path)}" in out
    assert "Every number" in out
    assert "[1/1]" in err

    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert everychip("run", "digits", *TINY)[0] == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    code, out, _ = everychip("report", str(folder))
    assert code == 0
    assert "report.html" in out
    typed = shlex.join(["everychip", "run", "digits", *TINY])
    assert f"Made by: {typed}" in out.replace("\n", "")
    assert f"everychip run {shlex.quote(str(folder / 'recipe.toml'))} --output FOLDER" in out
    assert "<html" in (folder / "report.html").read_text()

    (folder / "draws.parquet").write_bytes(b"damage")
    assert "draws.parquet" in refused(everychip("run", "digits", *TINY))
    assert "draws.parquet" in refused(everychip("report", str(folder)))
    assert "draws.parquet" in refused(everychip("sql", str(folder), "select 1"))


def test_a_study_is_planned_executed_reported_and_asked(everychip: Run, tmp_path: Path) -> None:
    two = ("--set", "sweep.seed=[0,1]", "--set", "base.method.kind=vanilla")
    table = {
        "name": "tiny",
        "base": {
            "data": {"kind": "digits"}, "model": {"kind": "mlp", "hidden": [16]}, "compute": {"threads": 1},
            "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}}, "method": {"kind": "noise_injection"},
            "training": {"epochs": 1, "validation_chips": 1}, "evaluation": {"chips": 2},
        },
        "sweep": {"seed": [0]},
    }  # fmt: skip
    (tmp_path / "tiny.toml").write_text(write_toml(table))
    code, out, _ = everychip("study", "tiny.toml", "--plan", *two)
    assert code == 0
    assert out.count("to do") == 2
    assert not (tmp_path / "everychip-runs").exists()

    code, out, _ = everychip("study", "tiny.toml", *two)
    assert code == 0
    assert "2 of 2 runs are complete" in out
    assert everychip("study", "tiny.toml", "--plan", *two)[1].count("complete") == 2
    folder = tmp_path / "everychip-runs" / "tiny"
    record = json.loads((folder / "study.json").read_text())
    assert (
        record["command"]
        == "everychip study tiny.toml --set 'sweep.seed=[0,1]' --set base.method.kind=vanilla"
    )

    code, out, _ = everychip("report", str(folder), "--output", "page.html", "--target", "0.5")
    assert code == 0
    assert (tmp_path / "page.html").exists()
    assert all(cell_len(line) <= 80 for line in out.splitlines() if not line.startswith("Made by"))

    code, out, _ = everychip(
        "sql", str(folder), "select seed, count(*) as n from draws group by seed", "--csv"
    )
    assert sorted(csv.reader(io.StringIO(out)))[:2] == [["0", "2"], ["1", "2"]]
    assert "accuracy" in everychip("sql", str(folder))[1]
    assert "its columns" in refused(everychip("sql", str(folder), "select no_such from draws"))


def test_the_demo_prints_its_verdicts_and_writes_its_page(everychip: Run, tmp_path: Path) -> None:
    quick = ("--set", "training.epochs=1", "--set", "evaluation.chips=2", "--workers", "1")
    few = ("--set", "sweep.seed=[0]", "--set", "evaluation.sigma=[0.0,0.3]")
    code, out, err = everychip("demo", *quick, *few)
    assert code == 0
    assert "Traceback" not in err
    assert "[7/7]" in err
    for method in ("vanilla", "noise_injection", "temperature", "irs", "ovf", "resilient"):
        assert method in out
    *_, falls, published, survives = " ".join(out.split()).rsplit("Trained ", 3)
    assert falls.startswith("as usual, the network is right")
    assert published.startswith("under that noise as published")
    assert survives.startswith("by resilient, it keeps")
    page = Path("everychip-runs", "demo", "report.html")
    assert f"Report: {page}" in out
    assert "Made by: everychip demo --set training.epochs=1" in out
    assert (tmp_path / page).stat().st_size > 10_000


def test_a_study_with_a_failed_run_ends_with_one_and_its_name(everychip: Run) -> None:
    broken = (
        "--set",
        "axes.method.broken.model.kind=factory",
        "--set",
        "axes.method.broken.model.call=torch:nope",
    )
    few = ("--set", "sweep.seed=[0]", "--set", "training.epochs=1", "--set", "evaluation.chips=2")
    only = (
        "--set",
        'skip=[{method=["vanilla", "irs", "ovf", "temperature", "noise_injection(clip)", "resilient"]}]',
    )
    base = ("--set", "base.method.kind=vanilla")
    code, out, err = everychip("study", "demo", *broken, *few, *only, *base)
    assert code == 1
    assert "1 of 2 runs are complete" in out
    assert "failed: broken, seed 0: torch:nope: found no function 'nope'" in err
    assert "Traceback" not in err


def test_check_says_what_is_on_the_crossbar_and_at_which_effective_noise(everychip: Run) -> None:
    code, out, _ = everychip("check", "lenet", "--set", "hardware.device.sigma=0.2")
    assert code == 0
    assert "MACs per input" in out
    assert "0.1555" in out  # 0.7776 σ for 8-bit weights on 2-bit cells
    code, out, _ = everychip("check", "lenet", "--json")
    facts: dict[str, Any] = json.loads(out)
    assert facts["sigma_of_max"] == pytest.approx(0.07776, abs=1e-4)
    assert facts["parameters_on_crossbar"] == pytest.approx(
        sum(row["parameters"] for row in facts["rows"] if row["crossbar"])
        / sum(row["parameters"] for row in facts["rows"])
    )
    assert everychip("check", "digits")[0] == 0
    assert everychip("check", "demo")[0] == 0


def test_check_writes_the_same_json_into_a_file(everychip: Run, tmp_path: Path) -> None:
    code, out, err = everychip("check", "mlp", "--json", "-o", "there.json")
    assert (code, err) == (0, "Written: there.json\n")
    facts = json.loads((tmp_path / "there.json").read_text())
    assert facts == json.loads(out)
    assert {"model", "macs_on_crossbar", "parameters_on_crossbar", "rows", "sigma_of_rms"} <= facts.keys()
    assert "no folder nowhere" in refused(everychip("check", "mlp", "--json", "-o", "nowhere/x.json"))
    assert "found a folder" in refused(everychip("check", "mlp", "--json", "-o", str(tmp_path)))


def test_check_takes_a_users_own_model_even_where_it_does_not_take_the_data(
    everychip: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2))\n"
    )
    code, out, _ = everychip("check", "mine:net")
    assert code == 0
    assert "MACs are not counted" in out
    assert "5×7" in out


def test_devices_and_methods_tell_what_their_classes_say(everychip: Run) -> None:
    from everychip.devices import Device, presets
    from everychip.methods import Method

    for command, names in (("devices", [*Device.kinds(), *presets()]), ("methods", list(Method.kinds()))):
        code, out, _ = everychip(command)
        assert code == 0
        for name in names:
            assert re.search(rf"^ {re.escape(name)} ", out, re.MULTILINE), name
            assert everychip(command, name.upper())[0] == 0
        assert all(cell_len(line) <= 80 for line in out.splitlines())
        json.loads(everychip(command, "--json")[1])
        json.loads(everychip(command, names[-1], "--json")[1])
    assert "Source: Qin et al." in everychip("methods", "irs")[1]


def test_mappings_and_signs_tell_what_their_classes_say(everychip: Run) -> None:
    from everychip.mapping import CellMapping, Sign

    code, out, _ = everychip("mappings")
    told = json.loads(everychip("mappings", "--json")[1])
    assert code == 0
    for family, key in ((CellMapping, "mappings"), (Sign, "signs")):
        assert [entry["kind"] for entry in told[key]] == list(family.kinds())
        for name in family.kinds():
            assert re.search(rf"^ {name} ", out, re.MULTILINE), name
            assert json.loads(everychip("mappings", name, "--json")[1])["kind"] == name
    assert "noisy_reference" in everychip("mappings", "offset")[1]
    assert "on_off" in everychip("mappings", "direct")[1]
    assert "did you mean offset" in everychip("mappings", "ofset")[2]


def test_a_preset_is_told_with_the_effective_noise_of_its_device(everychip: Run) -> None:
    told = everychip("devices", "FeFET6")[1]
    assert 'kind = "levels"\n' in told
    assert "Range: 0 … 1; unit: of G_max" in told
    assert "Range: 50 … 225 µS, right after programming\n" in everychip("devices", "RRAM-Milo")[1]
    facts = json.loads(everychip("devices", "rram1", "--json")[1])
    assert facts["sigma_of_max"] == pytest.approx(0.7776 * 0.1, abs=1e-4)


@pytest.mark.parametrize("native", [True, False])
def test_a_run_says_once_that_this_processor_only_emulates_its_precision(
    everychip: Run, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr("everychip.cli.advice._computes_bfloat16", lambda: native)
    code, _, err = everychip("run", "digits", *TINY, "--set", "training.precision=bfloat16")
    assert code == 0
    assert err.count("--set training.precision=float32") == (not native)
    assert "evaluation.precision" not in err
