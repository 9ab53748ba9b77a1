"""How a file registers its kinds: by lying in its family's folder, or under the entry-point group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any

ENTRY_POINTS = "everychip"

broken_plugins: dict[str, str] = {}
"""Modules under the entry-point group that cannot be imported, and why; the others are used all the same."""


@dataclass(frozen=True)
class Before:
    """Marks a field that joined after results were committed: `value` is what runs did before it existed.

    With that value the field is no part of a run's identity, so that ids of earlier runs stay what they are.

    >>> from everychip.methods import IRS
    >>> IRS.fields_before()["deploy"]
    'backbone'
    """

    value: Any


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that each file of a family registers its kinds.

    Args:
        package: its name.
        path: its `__path__`.
    """
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")


def import_plugins() -> None:
    """Import third parties' modules; `broken_plugins` names those that cannot be."""
    for entry in entry_points(group=ENTRY_POINTS):
        _import(entry)


def _import(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        broken_plugins[entry.name] = f"{type(error).__name__}: {error}"
