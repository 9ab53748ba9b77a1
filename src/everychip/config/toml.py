"""TOML read and written, and the hash that names a table by its content."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from everychip.errors import ConfigError

_DEEPEST = 64
"""Tables in tables; no recipe needs ten."""


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file, or say in one line why it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(str(path), found="a folder, a device or a pipe", expected="a TOML file")
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError) as error:
        found = getattr(error, "strerror", None) or f"text that is not UTF-8 ({error})"
        raise ConfigError(str(path), found=found, expected="a TOML file") from None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(str(path), found=f"a line TOML cannot read ({error})", expected="TOML") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text; ValueError where it is none, is too deep or has integers of over 64 bits."""
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError("tables or lists too deep in each other") from None
    level: list[tuple[str, Any]] = [("", table)]
    for _ in range(_DEEPEST):
        level = [(f"{place}.{key}", item) for place, node in level for key, item in _items(node)]
        for place, item in level:
            if isinstance(item, int) and item.bit_length() > 63:
                raise ValueError(f"{place[1:]} is an integer of more than 64 bits")
        if not level:
            return table
    raise ValueError("tables or lists too deep in each other")


def _items(node: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        return node.items()
    return enumerate(node) if isinstance(node, list) else ()


def write_toml(data: Mapping[str, Any]) -> str:
    """The table as TOML text."""
    return tomli_w.dumps(data)


def content_hash(data: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that name a table by its content.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
