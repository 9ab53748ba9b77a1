"""Draws as parquet: what is written is what is read, types and absences included."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from everychip.errors import StoreError
from everychip.storage.table import COLUMNS, merge_tables, query, read_table, write_table


def rows(count: int, run: str = "a") -> dict[str, list[Any]]:
    values: dict[str, Any] = {"VARCHAR": run, "DOUBLE": 0.1, "BIGINT": 7, "BOOLEAN": True}
    columns = {name: [values[kind]] * count for name, kind in COLUMNS.items()}
    return {**columns, "chip": list(range(count)), "sigma_train": [None] * count}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write_table(tmp_path / "draws.parquet", rows(3))
    assert read_table(tmp_path / "draws.parquet") == rows(3)


def test_columns_have_their_types_even_where_everything_is_absent(tmp_path: Path) -> None:
    write_table(tmp_path / "draws.parquet", {name: [] for name in COLUMNS})
    where = {"path": str(tmp_path / "draws.parquet")}
    described = duckdb.connect().execute("DESCRIBE FROM read_parquet($path)", where).fetchall()
    assert {row[0]: row[1] for row in described} == dict(COLUMNS)


def test_merged_rows_keep_their_order(tmp_path: Path) -> None:
    parts = [tmp_path / f"{run}.parquet" for run in "bac"]
    for part in parts:
        write_table(part, rows(1000, part.stem))
    merge_tables(tmp_path / "all.parquet", parts)
    merged = read_table(tmp_path / "all.parquet")
    assert merged["run"] == ["b"] * 1000 + ["a"] * 1000 + ["c"] * 1000
    assert merged["chip"] == list(range(1000)) * 3


def test_twenty_thousand_rows_take_less_than_two_seconds(tmp_path: Path) -> None:
    started = time.process_time()  # not the wall: the machine may be busy
    write_table(tmp_path / "draws.parquet", rows(20_000))
    assert len(read_table(tmp_path / "draws.parquet")["run"]) == 20_000
    assert time.process_time() - started < 2


def test_a_folder_name_may_hold_what_a_shell_would_expand(tmp_path: Path) -> None:
    folder = tmp_path / "it's [1]* $x"
    folder.mkdir()
    write_table(folder / "draws.parquet", rows(2))
    merge_tables(folder / "all.parquet", [folder / "draws.parquet"])
    assert read_table(folder / "all.parquet") == rows(2)


HOSTILE = [
    "run[1]",
    "run*",
    "r?n1",
    "**",
    "[!a]",
    "{a,b}",
    "a\\b",
    "it's",
    "a\nb",
    "~",
    "sigma=0.5",
    "seed=7",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_is_a_path_and_neither_a_pattern_nor_a_column(tmp_path: Path, name: str) -> None:
    for folder, run in (("run1", "another"), ("a", "another"), (name, "own")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_table(tmp_path / folder / "draws.parquet", rows(2, run))
    own = tmp_path / name / "draws.parquet"
    assert read_table(own) == rows(2, "own")
    merge_tables(tmp_path / name / "merged.parquet", [own])
    assert read_table(tmp_path / name / "merged.parquet") == rows(2, "own")
    answer = query(own, "select distinct run, sigma, seed from draws")[1]
    assert answer == [("own", rows(1)["sigma"][0], rows(1)["seed"][0])]


@pytest.mark.parametrize(
    "sql",
    [
        "copy draws to '{place}/stolen.csv'",
        "select * from read_csv('{place}/secret.csv')",
        "attach '{place}/stolen.db' as other",
        "set enable_external_access = true",
        "",
        "-- nothing",
        "select '\udcff'",
    ],
)
def test_sql_reaches_no_file_and_is_refused_in_one_line(tmp_path: Path, sql: str) -> None:
    write_table(tmp_path / "draws.parquet", rows(1))
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(StoreError, match="SQL about the table draws") as caught:
        query(tmp_path / "draws.parquet", sql.format(place=tmp_path))
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["draws.parquet", "secret.csv"]


def test_draws_answer_sql(tmp_path: Path) -> None:
    write_table(tmp_path / "draws.parquet", rows(4))
    header, answer = query(
        tmp_path / "draws.parquet", "SELECT run, sum(chip) AS total FROM draws GROUP BY run"
    )
    assert (header, answer) == (["run", "total"], [("a", 6)])


def test_sql_that_is_wrong_is_answered_in_one_line(tmp_path: Path) -> None:
    write_table(tmp_path / "draws.parquet", rows(1))
    with pytest.raises(StoreError, match="its columns: run, method") as caught:
        query(tmp_path / "draws.parquet", "SELECT no_such FROM draws")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "draws.parquet").write_bytes(content)
    with pytest.raises(StoreError, match=r"draws\.parquet"):
        read_table(tmp_path / "draws.parquet")
