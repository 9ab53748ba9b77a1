"""The draws of a folder, proven: no number is read from a file that is not as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from everychip.errors import StoreError
from everychip.storage.files import digest, read_json
from everychip.study import store

STUDY, STUDY_FORMAT, DRAWS, RUNS = "study.json", "everychip-study/1", "draws.parquet", "runs"


def draws_of(folder: Path) -> list[Path]:
    """The files of draws of a run or a study, each compared with the SHA-256 that was recorded with it.

    A study's merged table is written shortly before study.json: where the two do not agree, because it is
    written just now or its writer was killed, the draws are those of its complete runs.
    """
    if not folder.is_dir():
        raise StoreError(str(folder), found="no folder", expected="a run or a study folder")
    if not (folder / STUDY).is_file():
        return [store.open_run(folder).draws_path]
    record, merged = read_json(folder / STUDY, form=STUDY_FORMAT), folder / DRAWS
    known = _proofs(folder / STUDY, record)
    if merged.is_file() and known.get(DRAWS) in (None, digest(merged)):  # earlier versions knew no hash
        return [merged]
    runs = _complete(folder, record)
    if runs:
        return [store.open_run(run).draws_path for run in runs]
    if not merged.is_file():
        raise StoreError(str(folder), found="no draws.parquet", expected="the draws of at least one run")
    raise StoreError(
        str(merged),
        found="content that differs from its SHA-256 in study.json",
        expected="the file as it was written",
        remedy="the same `everychip study` command writes it anew from the runs",
    )


def _proofs(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    proofs = record.get("sha256", {})
    if not isinstance(proofs, dict):
        raise StoreError(str(path), found="a sha256 that is no table", expected="the record of a study")
    return proofs


def _complete(folder: Path, record: dict[str, Any]) -> list[Path]:
    """The folders of the complete runs that the record names; nothing unless all of them are here."""
    rows = record.get("runs")
    named = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    here = {path.name: path for path in (folder / RUNS).glob("*") if store.is_complete(path)}
    done = [
        row.get("id")
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and row.get("status") not in ("unfinished", "failed")
    ]
    return [here[name] for name in named if name in here] if all(name in here for name in done) else []
