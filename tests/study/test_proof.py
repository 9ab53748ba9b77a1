"""Reports and SQL read proven draws only; a study's merged table is derived and can be made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everychip.errors import StoreError
from everychip.report import load
from everychip.storage.table import query, read_table, write_table
from everychip.study import store
from everychip.study.execution import run
from everychip.study.proof import draws_of
from everychip.study.study import run_study


def rewrite(path: Path) -> None:
    """Claim that every chip is right about everything."""
    columns = read_table(path)
    write_table(path, {**columns, "accuracy": [1.0] * len(columns["accuracy"])})


def test_a_rewritten_accuracy_of_a_run_is_refused_by_report_and_sql(tmp_path: Path, tiny: Any) -> None:
    run(tiny(), tmp_path)
    rewrite(tmp_path / store.DRAWS)
    for reader in (load, draws_of, store.open_run):
        with pytest.raises(StoreError, match="differs from its SHA-256"):
            reader(tmp_path)


def test_a_rewritten_merged_table_is_read_from_the_runs_or_refused(tmp_path: Path, study: Any) -> None:
    run_study(study({"sweep": {"seed": [0]}}), tmp_path)
    asked = "select run, chip, sigma, accuracy from draws order by all"
    true = query(draws_of(tmp_path), asked)
    rewrite(tmp_path / "draws.parquet")
    assert query(draws_of(tmp_path), asked) == true
    shutil.rmtree(tmp_path / "runs")
    for reader in (load, draws_of):
        with pytest.raises(StoreError, match="differs from its SHA-256"):
            reader(tmp_path)


@pytest.mark.parametrize(
    "proofs",
    [{}, [], None, "x", {"/etc/passwd": "0" * 64}, {"../x": "0" * 64}, {".": "0"}, {"model.safetensors": 5}],
)
def test_a_record_without_the_proof_of_each_file_or_with_other_names_is_refused(
    tmp_path: Path, tiny: Any, proofs: Any
) -> None:
    run(tiny({"evaluation": {"sigma": [0.0], "chips": 1}}), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["seal"]
    record["sha256"] = {**record["sha256"], **proofs} if isinstance(proofs, dict) and proofs else proofs
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"run\.json: found no sha256") as caught:
        store.open_run(tmp_path)
    assert "/etc" not in str(caught.value)


ODD = [("status", [1]), ("id", None), ("seconds", "x"), ("history", 5), ("best_epoch", "a"), ("words", None)]


@pytest.mark.parametrize(("key", "value"), ODD)
def test_odd_values_of_a_record_are_refused_in_one_line(
    tmp_path: Path, tiny: Any, key: str, value: Any
) -> None:
    run(tiny({"evaluation": {"sigma": [0.0], "chips": 1}}), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["seal"]
    (tmp_path / "run.json").write_text(json.dumps({**record, key: value}))
    with pytest.raises(StoreError, match=rf"no {key} as its format has it"):
        store.open_run(tmp_path)


@pytest.mark.parametrize("seconds", ["x", [1], {}, True, 1e308])
def test_odd_seconds_of_a_study_do_not_stop_it(tmp_path: Path, study: Any, seconds: Any) -> None:
    one: Callable[[], Any] = lambda: run_study(study({"sweep": {"seed": [0]}}), tmp_path)  # noqa: E731
    one()
    record = json.loads((tmp_path / "study.json").read_text())
    del record["seal"]
    (tmp_path / "study.json").write_text(json.dumps({**record, "seconds": seconds}))
    assert one().executed == 0


def test_a_complete_study_that_cannot_be_written_is_opened(
    tmp_path: Path, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = study({"sweep": {"seed": [0]}})
    run_study(chosen, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr("os.access", lambda path, mode: False)  # a read-only mount, also for root
    outcome = run_study(chosen, tmp_path)
    assert (outcome.executed, dict(outcome.failed)) == (0, {})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_study_on_two_processors_marks_the_mixture(
    tmp_path: Path, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(study({"sweep": {"seed": [0]}}), tmp_path)
    assert "machines" not in json.loads((tmp_path / "study.json").read_text())
    monkeypatch.setattr("everychip.study.environment.capability", lambda: "AVX9")
    outcome = run_study(study(), tmp_path)
    assert len(outcome.machines) == 2
    assert load(tmp_path).machines == outcome.machines
