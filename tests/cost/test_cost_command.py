"""`everychip cost` in a terminal of 80 columns, as JSON, and its refusals."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from everychip.cli import call

MODEL = ("cost", "mlp", "--set", "data.size=8")


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def test_it_says_what_it_counts_that_it_is_an_estimate_and_whom_it_compares_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call([*MODEL, "--set", "method=irs"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    words = " ".join(told.split())
    for expected in (
        "ADC conversions",
        "if every cell is verified",
        "exits add",
        "An estimate",
        "TOPS a chip",
    ):
        assert expected in words
    assert "of 9 components are unverified" in words
    assert "good to about a factor of ten in energy" in words


def test_a_table_of_one_s_own_claims_no_accuracy_that_it_does_not_state(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (files("everychip.cost") / "isaac.toml").read_text("utf-8")
    own = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("within"))
    (tmp_path / "own.toml").write_text(own, encoding="utf-8")
    assert call([*MODEL, "--components", "own.toml"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "An estimate with the components of" in words
    assert "factor of ten" not in words


def test_json_and_file_hold_the_same_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call([*MODEL, "--json", "-o", "cost.json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((tmp_path / "cost.json").read_text())
    assert facts["cells"] == sum(layer["cells"] for layer in facts["layers"]) == 4 * facts["weights"]
    assert facts["energy_j"] == pytest.approx(sum(facts["energy_by_component_j"].values()))
    assert facts["estimate"] is True
    # 16-bit weights in place of 8: twice the cells; what is converted and read stands in proportion.
    assert facts["as_published"]["cells"] == 2 * facts["cells"]


def test_layers_with_hardware_of_their_own_are_counted_by_their_own_cells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The default's cells are named for the matrices that have them, and for no other."""
    quantized = '{kind="bit_sliced", quantize=true, weight_bits=8, cell_bits=2}'
    rule = f'{{match=["1"], mapping={quantized}}}'
    words = [*MODEL, "--set", "hardware.mapping=direct", "--set", f"hardware.layers=[{rule}]"]
    assert call(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert call([*words, "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    by_layer = {layer["name"]: layer["cells"] // layer["weights"] for layer in layers}
    assert len(layers) == 3 and set(by_layer.values()) == {1, 4}
    pairs = {4: "4 cells", 1: "1 cell"}
    few = [n for n in by_layer.values() if n == by_layer["1.weight"]]
    most = next(n for n in by_layer.values() if n != by_layer["1.weight"])
    assert f"{pairs[most]} for a weight, {pairs[few[0]]} in 1 of 3 matrices" in told


def test_selective_write_verify_counts_its_share(capsys: pytest.CaptureFixture[str]) -> None:
    verify = 'evaluation.mitigation={kind="selective_write_verify", fraction=0.1}'
    assert call([*MODEL, "--set", verify]) == 0
    assert "if it is the recipe's 10 %" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("cost", "no-such-model"), "no-such-model"),
        ((*MODEL, "--components", "none.toml"), "none.toml"),
        ((*MODEL, "--set", "hardware.digital=['*']"), "no matrix that a crossbar could hold"),
        ((*MODEL, "-o", "nowhere/cost.json"), "no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(list(words)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert error in told.err
    assert told.err.count("\n") == 1
