"""How a file registers its kinds: by lying in its family's folder, or under the entry-point group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any

from pydantic import BaseModel

ENTRY_POINTS = "everychip"

broken_plugins: dict[str, str] = {}
"""Modules under the entry-point group that cannot be imported, and why; the others are used all the same."""


@dataclass(frozen=True)
class Before:
    """Marks a field that joined after results were committed: `value` is what runs did before it existed.

    With that value the field is no part of a run's identity, so that ids of earlier runs stay what they are.

    >>> from everychip.methods import IRS
    >>> fields_before(IRS)["deploy"]
    'backbone'
    """

    value: Any


def fields_before(kind: type[BaseModel]) -> dict[str, Any]:
    """The fields of a class that are marked by `Before`, each with what runs did before."""
    return {
        name: mark.value
        for name, field in kind.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Before)
    }


@dataclass(frozen=True)
class Formerly:
    """Marks a field that had another name in recipes: `name` is still read, and stands in a run's identity.

    >>> from everychip.methods import Resilient
    >>> Resilient.parse({"kind": "resilient", "quiet": 0.1}).table()["noise_penalty"]
    0.1
    """

    name: str


def former_names(kind: type[BaseModel]) -> dict[str, str]:
    """The fields of a class that are marked by `Formerly`, each with its earlier name."""
    return {
        name: mark.name
        for name, field in kind.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Formerly)
    }


@cache
def import_all(base: str) -> None:
    """Import every file beside the one that declares a family, so that each registers its kinds.

    Args:
        base: the module of the family, such as "everychip.methods.base"; where it is no `base`, the family
            is in one file, and nothing is imported.
    """
    package, _, leaf = base.rpartition(".")
    if leaf == "base":
        for module in iter_modules(import_module(package).__path__):
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
