"""The table of draws as parquet: one row per chip, typed columns, written and read with duckdb."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everychip.errors import StoreError
from everychip.storage.files import write_proven

if TYPE_CHECKING:
    import duckdb

COLUMNS: Mapping[str, str] = {
    "run": "VARCHAR",
    "method": "VARCHAR",
    "variant": "VARCHAR",
    "model": "VARCHAR",
    "data": "VARCHAR",
    "device": "VARCHAR",
    "sigma_train": "DOUBLE",
    "sigma": "DOUBLE",
    "sigma_of_max": "DOUBLE",
    "sigma_of_rms": "DOUBLE",
    "seed": "BIGINT",
    "chip": "BIGINT",
    "accuracy": "DOUBLE",
    "nll": "DOUBLE",
    "brier": "DOUBLE",
    "ece": "DOUBLE",
    "confidence": "DOUBLE",
    "images": "BIGINT",
    "whole_test": "BOOLEAN",
    "per_chip": "BOOLEAN",
    "time": "DOUBLE",
}
"""Name and SQL type of every column of `draws.parquet`.

per_chip: every chip was calibrated by itself. Scores of other tasks have columns of their own, of DOUBLE.
time: seconds since programming, null where the device does not age.
"""


def write_table(
    path: Path, columns: Mapping[str, Sequence[Any]], *, metadata: Mapping[str, str] | None = None
) -> str:
    """Write columns of equal length, `None` for what is absent, as one parquet file; returns its SHA-256.

    metadata: texts by name, which the file keeps beside its rows (`metadata_of`).
    """
    selected = ", ".join(
        f"unnest($c{n}::{COLUMNS.get(name, 'DOUBLE')}[]) AS {_quoted(name)}" for n, name in enumerate(columns)
    )
    values = {f"c{n}": list(column) for n, column in enumerate(columns.values())}
    return _copy(path, f"SELECT {selected}", values, metadata=metadata or {})


def _quoted(name: str) -> str:
    """A column's name in SQL, whatever a score is called."""
    return '"' + name.replace('"', '""') + '"'


def metadata_of(path: Path) -> dict[str, str]:
    """The texts that a parquet file keeps beside its rows."""
    import duckdb

    try:
        rows = connect().execute("SELECT * FROM parquet_kv_metadata($files)", {"files": literal([path])[0]})
        return {key.decode(): value.decode() for _, key, value in rows.fetchall()}
    except (duckdb.Error, UnicodeError) as error:
        raise _damaged(path, error) from None


SCAN = "read_parquet($files, union_by_name = true, hive_partitioning = false)"
"""Reads the files that `literal` names, and nothing else: no folder's name becomes a column."""


def literal(paths: Sequence[Path]) -> list[str]:
    """The paths as duckdb has to be given them: it takes `*`, `?`, `[` for patterns and `~` for home.

    >>> [Path(name).name for name in literal([Path("run[1]"), Path("a*")])]
    ['run[[]1]', 'a[*]']
    """
    return [glob.escape(os.path.abspath(path)) for path in paths]  # noqa: PTH100 (resolves no link)


def merge_tables(
    path: Path, parts: Sequence[Path], *, renamed: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Write the rows of several parquet files, in their order, as one file; a column one lacks is null.

    Returns its SHA-256. renamed: by run, the labels that its rows have instead of their own, by column.
    """
    columns, values = _relabelled(renamed or {})
    return _copy(path, f"SELECT *{columns} FROM {SCAN}", {"files": literal(parts), **values})


def _relabelled(renamed: Mapping[str, Mapping[str, str]]) -> tuple[str, dict[str, str]]:
    """The labels of some runs in place of others, as SQL and its values."""
    values: dict[str, str] = {}
    cases: dict[str, list[str]] = {}
    for number, (run, labels) in enumerate(renamed.items()):
        values[f"run_{number}"] = run
        for column, label in labels.items():
            values[f"{column}_{number}"] = label
            cases.setdefault(column, []).append(f"WHEN $run_{number} THEN ${column}_{number}")
    said = [f"CASE run {' '.join(when)} ELSE {column} END AS {column}" for column, when in cases.items()]
    return (f" REPLACE ({', '.join(said)})" if said else ""), values


def read_table(path: Path) -> dict[str, list[Any]]:
    """All columns of a parquet file, as lists."""
    import duckdb

    if path.exists() and not path.is_file():  # a pipe may never end
        raise StoreError(str(path), found="a folder, a device or a pipe", expected="a parquet file of draws")
    try:
        result = connect().execute(f"SELECT * FROM {SCAN}", {"files": literal([path])})
        names = [column[0] for column in result.description or ()]
        rows = result.fetchall()
    except duckdb.Error as error:
        raise _damaged(path, error) from None
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def query(path: Path | Sequence[Path], sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer SQL about the table `draws`; what it returns is the header and the rows.

    The rows are copied into memory, and no file can be read or written from then on.
    """
    import duckdb

    paths = [path] if isinstance(path, Path) else list(path)
    connection = connect()
    try:
        connection.execute(f"CREATE TABLE draws AS SELECT * FROM {SCAN}", {"files": literal(paths)})
    except duckdb.Error as error:
        raise _damaged(paths[0], error) from None
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    try:
        sql.encode()
        result: Any = connection.execute(sql)  # nothing for a text without a statement
        if result is None:
            raise duckdb.ParserException("no statement")
        return [column[0] for column in result.description or ()], result.fetchall()
    except (duckdb.Error, UnicodeError) as error:
        words = str(error).partition("\n")[0]
        raise StoreError(
            "sql",
            found=words,
            expected="SQL about the table draws",
            remedy=f"its columns: {', '.join(COLUMNS)}",
        ) from None


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory."""
    import duckdb

    # One thread: rows keep their order, and a study's workers share the cores already.
    return duckdb.connect(config={"threads": 1})


def _copy(
    path: Path, select: str, values: dict[str, Any], *, metadata: Mapping[str, str] | None = None
) -> str:
    import duckdb

    named = {f"metadata_{key}": text for key, text in (metadata or {}).items()}
    kept = ", ".join(f"{key}: $metadata_{key}" for key in metadata or {})
    form = f"FORMAT parquet, KV_METADATA {{{kept}}}" if kept else "FORMAT parquet"

    def write(draft: Path) -> None:
        try:
            place = os.path.abspath(draft)  # noqa: PTH100 (resolves no link)
            given = {**values, **named, "draft": place}
            connect().execute(f"COPY ({select}) TO $draft ({form})", given)
        except duckdb.Error as error:
            words = str(error).partition("\n")[0]
            raise StoreError(str(path), found=words, expected="whole draws and room to write") from None

    return write_proven(path, write)


def _damaged(path: Path, error: Exception) -> StoreError:
    words = str(error).partition("\n")[0] if path.exists() else "no such file"
    return StoreError(str(path), found=words, expected="a parquet file of draws")
