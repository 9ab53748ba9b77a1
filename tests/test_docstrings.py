"""Every public function and method says what it takes and what it gives, with types, shapes or units."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import everychip as ec


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """What `everychip` exports: functions, and methods that its own classes define."""
    for name in ec.__all__:
        value = getattr(ec, name)
        if isinstance(value, ModuleType):
            for inner in getattr(value, "__all__", ()):
                yield from of(f"{name}.{inner}", getattr(value, inner))
        else:
            yield from of(name, value)


def of(name: str, value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    if inspect.isclass(value):
        for leaf, member in vars(value).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            inherited = any(hasattr(base, leaf) for base in value.__mro__[1:])
            if inspect.isfunction(function) and not leaf.startswith("_") and not inherited:
                yield f"{name}.{leaf}", function
    elif inspect.isfunction(value):
        yield name, value


PUBLIC = dict(public())
NOTHING = (None, "None", inspect.Signature.empty)


def arguments(function: Callable[..., Any]) -> list[str]:
    named = inspect.signature(function).parameters
    return [name for name in named if name not in ("self", "cls")]


def section(doc: str, title: str) -> str | None:
    """What stands indented under `title:`."""
    found = re.search(rf"^{title}:\n((?:[ ]{{4}}.*\n?|\n)+)", doc, re.MULTILINE)
    return found and found[1]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_function_names_its_arguments_and_what_it_returns(name):
    function = PUBLIC[name]
    doc, expected = inspect.getdoc(function) or "", arguments(function)
    if expected:
        entries = re.findall(r"^ {4}([\w, *]+):", section(doc, "Args") or "", re.MULTILINE)
        assert [part for entry in entries for part in re.split(r",\s*", entry)] == expected
    if (
        inspect.signature(function).return_annotation not in (None, "None", "Self", inspect.Signature.empty)
        and expected
    ):
        assert section(doc, "Returns")


def test_what_is_public_is_looked_at():
    known = {"evaluate", "fit", "Draws.verdict", "devices.Device.program", "methods.Method.bind"}
    assert known <= PUBLIC.keys()
