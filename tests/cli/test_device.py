"""`everychip device fit` as a user meets it: a device from a CSV, and a run of it, or one clear line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.measurements import rows, write

from everychip.cli import call
from everychip.config.toml import read_toml
from everychip.devices import Device
from everychip.study.experiment import Experiment
from everychip.study.grid import Study

Run = Callable[..., tuple[int, str, str]]
COLUMNS = ("target", "measured", "die", "device", "cycle")
RECIPE = """
data = "digits"
model = { kind = "mlp", hidden = [16] }
method = "noise_injection"
hardware = { device = { file = "mydevice.toml" }, mapping = "direct" }
training = { epochs = 1, batch_size = 64, validation_chips = 1, validation_images = 50 }
evaluation = { chips = 2 }
compute = { threads = 1 }
"""


@pytest.fixture
def everychip(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command line in an empty folder, in a terminal of 80 columns: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = call(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A file of three dies, thirty devices on each, three cycles of each."""
    table = rows(
        levels=(0, 0.25, 0.5, 0.75, 1),
        cell=lambda g: 0.02 + 0.03 * g,
        cycle=lambda g: 0.01,
        die=lambda g: 0.01,
        bias=lambda g: 0.02 * (1 - g),
        dies=3,
        devices=30,
        cycles=3,
    )
    return write(tmp_path / "measured.csv", table, COLUMNS)


@pytest.mark.parametrize("options", [(), ("--smooth",), ("--bins", "4")], ids=["levels", "smooth", "bins"])
def test_a_fit_is_told_in_80_columns_and_written_with_its_plot(
    everychip, measured, tmp_path, options
) -> None:
    code, out, err = everychip(
        "device", "fit", "measured.csv", "--unit", "uS", "-o", "mydevice.toml", *options
    )
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for words in ("die", "device", "cycle", "χ²", "R² of σ²", "K²", "σ_W/max|W|", "G_max = 25 µS"):
        assert words in out, words
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "measured.csv",
        "mydevice.svg",
        "mydevice.toml",
    ]
    device = Device.parse(read_toml(tmp_path / "mydevice.toml"))
    assert (device.label, device.source, device.g_max) == ("mydevice", "measured.csv", 25.0)
    image = (tmp_path / "mydevice.svg").read_text(encoding="utf-8")
    for title in ("Standard deviation", "Bias", "Residuals"):
        assert title in image
    first = (tmp_path / "mydevice.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first == " ".join(["# everychip device fit measured.csv --unit uS", *options])


@pytest.mark.parametrize(
    "name", ['a"b.toml', "back\\slash.toml", "[x] µ;$(x) 'y'.toml", "-rf.toml", "a#b.toml"]
)
def test_the_recipe_that_is_printed_is_toml_whatever_the_file_is_called(
    everychip, measured, tmp_path, name
) -> None:
    code, out, err = everychip("device", "fit", "measured.csv", "--unit", "uS", "-o", f"./{name}")
    assert (code, err) == (0, "")
    line = next(line for line in out.splitlines() if line.startswith("Recipe: "))
    device = tomllib.loads(line.removeprefix("Recipe: "))["hardware"]["device"]
    assert Device.parse(read_toml(tmp_path / device["file"])).g_max == 25.0


def test_a_recipe_anywhere_runs_with_the_device_beside_it(everychip, measured, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine").mkdir()
    output = "mine/mydevice.toml"
    assert everychip("device", "fit", "measured.csv", "--unit", "uS", "-o", output)[0] == 0
    (tmp_path / "mine" / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    experiment = Experiment.from_toml("mine/recipe.toml")
    assert experiment.hardware.device == Device.parse({"file": output})
    code, _, err = everychip("run", "mine/recipe.toml", "-o", "out")
    assert code == 0, err
    # The run's own recipe needs no other file, and names the same run from anywhere.
    monkeypatch.chdir(tmp_path / "mine")
    assert Experiment.from_toml("../out/recipe.toml").id == experiment.id
    assert Experiment.from_toml("recipe.toml").id == experiment.id


def test_a_study_may_compare_device_files_and_times(everychip, tmp_path) -> None:
    table = [
        {**row, "time": time, "measured": row["measured"] * (1 - 0.05 * shift)}
        for shift, time in enumerate((1, 3600))
        for row in rows(levels=(0, 1), cell=lambda g: 0.03)
    ]
    write(tmp_path / "measured.csv", table, ("target", "measured", "time"))
    (tmp_path / "mine").mkdir()
    code, out, _ = everychip("device", "fit", "measured.csv", "--unit", "uS", "-o", "mine/mydevice.toml")
    assert code == 0
    assert "time = one of 1, 3600" in out
    base = "[base]" + RECIPE
    study = tmp_path / "mine" / "study.toml"
    study.write_text(base + "[sweep]\nhardware.device.time = [1, 3600]\n", encoding="utf-8")
    found = [one.hardware.device.time for one in Study.from_toml(study).expand().experiments]
    assert found == [1, 3600]
    for sweep in ('hardware.device.file = ["mydevice.toml"]', '"hardware.device.file" = ["mydevice.toml"]'):
        study.write_text(base + f"[sweep]\n{sweep}\n", encoding="utf-8")
        (one,) = Study.from_toml("mine/study.toml").expand().experiments
        assert one.hardware.device.name == "mydevice"
    (tmp_path / "mine" / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    later = Experiment.from_toml("mine/recipe.toml", ["hardware.device.time=3600"])
    assert later.hardware.device.label == "mydevice at 1 h"
    code, _, err = everychip("check", "mine/recipe.toml", "--set", "hardware.device.time=60")
    assert code == 2
    assert "60 s, which was not measured" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.csv", "--unit", "uS"), "no such file"),
        (("measured.csv",), "--unit"),
        (("measured.csv", "--unit", "furlong"), "unknown unit 'furlong'"),
        (("measured.csv", "--unit", "S"), "--unit uS"),
        (("measured.csv", "--unit", "uS", "--g-max", "10"), "targets within 0 … 10 uS"),
        (("measured.csv", "--unit", "uS", "--bins", "1"), "--bins"),
        (("measured.csv", "--unit", "uS", "--bins", "3", "--smooth"), "expected 4 for --smooth"),
        (("measured.csv", "--unit", "uS", "-o", "nowhere/a.toml"), "no folder nowhere"),
        (("measured.csv", "--unit", "uS", "-o", "folder.toml"), "a folder"),
        (("measured.csv", "--unit", "uS", "-o", "a.csv"), "expected a .toml file"),
        (("measured.csv", "--unit", "uS", "-o", "plot.toml"), "plot.svg: found a folder"),
        (("few.csv", "--unit", "uS"), "found 4 measurements at 0 µS; expected at least 10"),
        (("nan.csv", "--unit", "uS"), "nan.csv:3: found nan in the column measured"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(everychip, measured, tmp_path, arguments, words) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "plot.svg").mkdir()
    write(tmp_path / "few.csv", rows(levels=(0, 1), cell=lambda g: 0.1, devices=4))
    (tmp_path / "nan.csv").write_text("target,measured\n0,0\n25,nan\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = everychip("device", "fit", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert sorted(tmp_path.rglob("*")) == before


def test_device_and_devices_are_two_commands_with_help(everychip) -> None:
    code, out, _ = everychip("device", "fit", "--help")
    assert code == 0
    assert "--same-order" in out
    assert "fit" in everychip("device")[1]
    code, out, _ = everychip("devices", "measured")
    assert code == 0
    assert "bias" in out


def test_a_spreadsheet_of_currents_with_stuck_cells_becomes_a_device_that_runs(everychip, tmp_path) -> None:
    """UTF-16, a comment, own column names, decimal commas, OVERFLOW, currents in nA at 0.2 V, 2 … 25 µS."""
    table = rows(levels=(0.08, 0.5, 1), cell=lambda g: 0.02)
    for row in table[40:44]:
        row["measured"] = 2.0  # stuck at G_min while 12.5 µS were written
    lines = [f"{row['target']:.2f}\t{200 * row['measured']:.4f}".replace(".", ",") for row in table]
    text = "\n".join(["# Wafer 7", "Soll (µS)\tI_nA", *lines, "12,50\tOVERFLOW"])
    (tmp_path / "mydevice.csv").write_text(text, encoding="utf-16")
    command = ("device", "fit", "mydevice.csv", "--unit", "uS", "--measured-unit", "nA", "--read-voltage")
    names = ("--column", "target=Soll (µS)", "--column", "measured=I_nA")
    code, out, err = everychip(*command, "0.2", *names, "--skip-invalid", "--split-stuck")
    assert (code, err) == (0, "")
    assert "(OVERFLOW 1)" in out
    assert 'mapping = { kind = "direct", on_off = 12.5 }' in out
    device = Device.parse({"file": "mydevice.toml"})
    assert device.label == "mydevice"
    law, stuck = device.devices
    # Four of the 80 cells at the two levels above G_min.
    assert (stuck.p0, stuck.p1, stuck.g_min) == (0.05, 0.0, 0.08)
    assert law.law.cell_to_cell == pytest.approx([0.02] * 3, abs=4 * 0.02 / 78**0.5)
    recipe = RECIPE.replace('"direct"', '{ kind = "direct", on_off = 12.5 }')
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    code, _, err = everychip("check", "recipe.toml")
    assert (code, err) == (0, "")
