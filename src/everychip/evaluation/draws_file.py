"""Draws as one parquet file: a row per chip, and what they were drawn for in the file's metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everychip.errors import StoreError
from everychip.storage.table import metadata_of, read_table, write_table

FORMAT, KEY, SEAL = "everychip-draws/1", "everychip", "sha256"
_EXPECTED = "draws that Draws.save wrote"


def write(path: Path, columns: Mapping[str, list[Any]], about: Mapping[str, Any]) -> None:
    """Write rows and their description whole, with the SHA-256 of both.

    Args:
        path: the file.
        columns: a list per column, a row per chip.
        about: what the rows are, as plain values.
    """
    said = {"format": FORMAT, **about}
    text = json.dumps({**said, SEAL: _seal(columns, said)})
    write_table(path, columns, metadata={KEY: text})


def read(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The rows and the description of a file that `write` wrote; another file, or a changed one, is refused.

    Args:
        path: the file.

    Returns:
        The columns, and what they are.
    """
    columns, about = read_table(path), _about(path)
    try:
        seal = about.pop(SEAL)
    except KeyError as error:
        raise damaged(path, error) from None
    if seal != _seal(columns, about):
        raise StoreError(str(path), found="content that differs from its own SHA-256", expected=_EXPECTED)
    return columns, about


def damaged(path: str | Path, error: Exception) -> StoreError:
    """What a file is refused with that lacks what its format has."""
    return StoreError(str(path), found=f"a damaged file ({error!r})", expected=_EXPECTED)


def _about(path: Path) -> dict[str, Any]:
    """What the metadata of a file say of its draws."""
    try:
        about = json.loads(metadata_of(path).get(KEY, "null"))
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StoreError(str(path), found="a parquet file of something else", expected=_EXPECTED)
    return about


def _seal(columns: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """SHA-256 of rows and description; floats are written so that they can be read back to the bit."""
    return hashlib.sha256(json.dumps([columns, about], sort_keys=True).encode()).hexdigest()
