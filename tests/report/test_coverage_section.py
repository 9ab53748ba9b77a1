"""The section of the report that tells what is on the crossbar."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from everychip.devices import Gaussian
from everychip.errors import StoreError
from everychip.hardware.coverage import check
from everychip.hardware.hardware import Hardware
from everychip.report.blocks import Details, Table
from everychip.report.html import page
from everychip.report.reading import load
from everychip.report.results import Results
from everychip.report.sections.coverage import section
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.study import run_study

QUICK = [
    "model=mlp",
    "training.epochs=1",
    "evaluation.chips=2",
    "evaluation.sigma=[0.1]",
    "compute.threads=1",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("coverage") / "run"
    run(Experiment.from_toml("digits", [*QUICK, 'hardware.digital=["5"]']), folder)
    return load(folder)


def table_of(results: Results) -> Table:
    found = section(results, target=None)
    assert found is not None
    [table] = [block for block in found.blocks if isinstance(block, Table)]
    return table


def test_a_run_records_what_the_crossbar_held(results: Results) -> None:
    [coverage] = results.coverage
    assert [row.name for row in coverage.matrices if not row.crossbar] == ["5.weight"]
    assert coverage.macs is not None


def test_the_section_names_every_matrix_and_why_it_is_not_held(results: Results) -> None:
    rows = {row.cells[0]: row.cells for row in table_of(results).rows}
    assert list(rows) == ["1.weight", "3.weight", "5.weight"]
    assert rows["1.weight"][5] == "yes"
    assert rows["5.weight"][5] == "no: digital by request (5); hardware.digital names it"
    shares = [float(cells[column]) for cells in rows.values() for column in (3, 4)]
    assert sum(shares[1::2]) == pytest.approx(100, abs=0.2)  # of the MACs; biases have none
    assert "What is on the crossbar" in page(results)


def test_results_without_a_record_have_no_section(study: Path) -> None:
    assert section(load(study), target=None) is None


def test_a_study_tells_each_network_once(tmp_path: Path) -> None:
    base = Experiment.from_toml("digits", QUICK).table()
    axes: dict[str, Any] = {"model": {"deep": {}, "flat": {"model": {"kind": "mlp", "hidden": [8]}}}}
    table = {"name": "two", "base": base, "axes": axes, "sweep": {"seed": [0, 1]}}
    chosen = Study.read(table, where="test")
    run_study(chosen, tmp_path / "two", workers=1)
    found = load(tmp_path / "two").coverage
    assert sorted(len(coverage.matrices) for coverage in found) == [2, 3]
    record = json.loads((tmp_path / "two" / "study.json").read_text())
    assert [entry["models"] for entry in record["coverage"]] == [["deep"], ["flat"]]


def test_many_matrices_are_folded_away(results: Results) -> None:
    deep = nn.Sequential(*(nn.Linear(2, 2) for _ in range(30)))
    many = check(deep, Hardware(device=Gaussian(sigma=0.1)))
    found = section(replace(results, coverage=(many,)), target=None)
    assert found is not None
    [details] = [block for block in found.blocks if isinstance(block, Details)]
    assert details.summary == "30 matrices"


def test_a_damaged_record_is_refused_in_one_line(results: Results, tmp_path: Path) -> None:
    for name in ("recipe.toml", "draws.parquet", "model.safetensors"):
        (tmp_path / name).write_bytes((results.path / name).read_bytes())
    record = json.loads((results.path / "run.json").read_text())
    del record["coverage"]["rows"][0]["shape"], record["seal"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"no coverage\.rows\.0\.shape"):
        load(tmp_path)


def test_the_report_says_what_outlier_weights_cost_and_which_layers_have_other_hardware(
    results: Results,
) -> None:
    import torch

    from everychip.hardware.layers import Layer
    from everychip.report.blocks import Text

    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
    with torch.no_grad():
        model[0].weight[3, 5] = 4.0
    rule = Layer(match=("2",), device=Gaussian(sigma=0.02))
    coverage = check(model, Hardware(device=Gaussian(sigma=0.1), layers=(rule,)))
    told = replace(results, coverage=(coverage,))
    found = section(told, target=None)
    assert found is not None
    [warning] = [one for one in found.blocks if isinstance(one, Text) and one.style == "warning"]
    assert warning.paragraphs == (coverage.outliers[0].words, coverage.advice)
    assert {row.cells[0]: row.cells[5] for row in table_of(told).rows}["2.weight"] == "yes: gaussian, σ 0.02"
    plain = section(results, target=None)
    assert plain is not None
    assert not [one for one in plain.blocks if isinstance(one, Text) and one.style == "warning"]
