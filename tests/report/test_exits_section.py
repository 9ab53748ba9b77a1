"""A study whose networks answer in several ways shows accuracy against what an answer takes."""

from __future__ import annotations

import json

import pytest

from everychip.report.chart_files import write_charts
from everychip.report.html import page
from everychip.report.reading import load
from everychip.report.sections.exits import rows_of, section
from everychip.study.grid import Study
from everychip.study.study import run_study

STUDY = {
    "name": "answers",
    "base": {
        "data": {"kind": "digits"},
        "model": {"kind": "multi_exit", "of": {"kind": "lenet"}, "pool": 1, "hidden": 16, "count": 2},
        "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
        "method": {"kind": "noise_injection"},
        "training": {"epochs": 1, "batch_size": 64},
        "evaluation": {"chips": 3},
        "compute": {"threads": 1},
    },
    "axes": {
        "policy": {
            "exit 1": {"evaluation": {"policy": {"kind": "only", "exit": 1}}},
            "last": {"evaluation": {"policy": "last"}},
            "combined": {"evaluation": {"policy": "combined"}},
            "early 20 %": {"evaluation": {"policy": {"kind": "early", "loss": 0.2, "images": 100}}},
        }
    },
    "sweep": {"seed": [0]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("answers") / "study"
    outcome = run_study(Study.read(STUDY, where="study"), place)
    assert not outcome.failed
    return place


def test_each_way_stands_with_its_accuracy_and_what_it_takes(folder):
    rows = {row.label: row for row in rows_of(load(folder))}
    assert set(rows) == {"exit 1", "last", "combined", "early 20 %"}
    assert list(rows) == sorted(rows, key=lambda label: rows[label].answered.macs)
    assert rows["combined"].answered.of_combined == 1
    macs = [rows[name].answered.macs for name in ("exit 1", "last", "combined")]
    assert macs == sorted(macs)
    assert rows["exit 1"].answered.macs <= rows["early 20 %"].answered.macs <= rows["combined"].answered.macs
    assert all(row.answered.energy_j > 0 and row.answered.latency_s > 0 for row in rows.values())
    assert len({row.network for row in rows.values()}) == 1


def test_the_report_and_the_files_have_the_picture(folder, tmp_path):
    results = load(folder)
    found = section(results, target=None)
    assert found is not None and found.blocks[0].name == "accuracy-macs"
    assert "Accuracy against multiplications" in page(results)
    names = [path.name for path in write_charts(results, tmp_path)]
    assert "accuracy-macs.svg" in names
    assert "exit 1" in (tmp_path / "accuracy-macs.svg").read_text(encoding="utf-8")


def test_a_study_without_exits_has_no_such_section(study):
    assert section(load(study), target=None) is None


def test_the_cost_of_a_run_knows_how_its_inputs_left(folder, capsys):
    from everychip.cli import call

    records = {path.parent: json.loads(path.read_text()) for path in folder.glob("runs/*/run.json")}
    early = next(run for run, record in records.items() if record["labels"]["policy"].startswith("early"))
    assert call(["cost", str(early), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["answers"][-1]
    kept = records[early]["answers"][0]
    assert {name: told[name] for name in kept if name != "sigma"} == {
        name: value for name, value in kept.items() if name != "sigma"
    }
