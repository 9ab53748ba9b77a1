"""What is refused, and how it is said in one line: values of another type, out of bounds, in no branch."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from numbers import Integral, Number, Real
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, core_schema

from everychip.errors import ConfigError

NUMBER, WHOLE = "a number", "a whole number"


def must_be(
    value: Any,
    where: str,
    *,
    whole: bool = False,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    remedy: str | None = None,
) -> None:
    """Refuse an argument of a function that is no finite number, or is one out of its bounds.

    whole: only a whole number will do. Bounds: least ≤ value, above < value < below.

    >>> must_be(0.5, "kpp.k", above=0, below=100)
    >>> must_be(2.5, "evaluate.chips", whole=True, least=1)
    Traceback (most recent call last):
    everychip.errors.ConfigError: evaluate.chips: found 2.5; expected a whole number, at least 1
    """
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    inside = number and (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not inside:
        bounds = (("at least", least), ("more than", above), ("less than", below))
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        expected = ", ".join(part for part in (WHOLE if whole else NUMBER, said) if part)
        raise ConfigError(where, found=repr(value), expected=expected, remedy=remedy)


def whole(value: Any, where: str) -> int:
    """A whole number of any type (numpy's, a tensor of one element) as Python's own; others are refused.

    >>> import torch
    >>> whole(torch.tensor([0.5, 0.2]).argmin(), "program.chip")
    1
    >>> whole(1.5, "program.chip")
    Traceback (most recent call last):
    everychip.errors.ConfigError: program.chip: found 1.5; expected a whole number
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(where, found=repr(value), expected=WHOLE) from None


def refusal(path: tuple[str, ...], found: str, remedy: str) -> PydanticCustomError:
    """What a validator raises to say in one line where, what was found, and what was expected."""
    return PydanticCustomError(
        "everychip", "{found}; {remedy}", {"path": path, "found": found, "remedy": remedy}
    )


def _only(expected: str, *, switch: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        number = isinstance(value, Number) and isinstance(value, bool) != switch
        if number or isinstance(value, str | bytes):
            raise refusal((), repr(value), expected)
        return value

    return check


_CHECKS = {"float": _only(NUMBER), "int": _only(WHOLE), "bool": _only("true or false", switch=True)}
_BRANCH = "|"
"""Begins the part of an error's place that is a branch of a union; words for the branch may follow."""


def take_as_written(schema: Any) -> None:
    """Let pydantic read no text as a number and no number as true, in a core schema, which is changed.

    Its own strictness would also refuse the lists of TOML for tuples, and 3.0 for a whole number.
    """
    kind = schema["type"]
    if kind == "function-before" and schema["function"]["function"] in _CHECKS.values():
        return
    if kind in _CHECKS:
        inner = dict(schema)
        schema.clear()
        schema.update(core_schema.no_info_before_validator_function(_CHECKS[kind], inner))
        return
    for part in _parts(schema):
        take_as_written(part)
    if kind == "union":
        schema["choices"] = [(choice, _BRANCH + _words(choice)) for choice in _parts(schema)]


def _parts(schema: Any) -> Iterator[Any]:
    for key in ("schema", "keys_schema", "values_schema", "items_schema", "choices"):
        below = schema.get(key, [])
        for part in below if isinstance(below, list) else [below]:
            yield part[0] if isinstance(part, tuple) else part
    yield from schema.get("fields", {}).values()


def _words(schema: Any) -> str:
    items = [part["type"] for part in _parts(schema)] if schema["type"] in ("tuple", "list") else []
    return "a list of names" if items == ["str"] else ""


_WORDS = {
    "float_type": NUMBER,
    "int_type": WHOLE,
    "int_from_float": WHOLE,
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "text",
    "tuple_type": "a list",
}


def first_of(error: ValidationError) -> tuple[tuple[str, ...], str, str]:
    """The first mistake of pydantic's report: its place, what was found, and what was expected.

    A value that is in no branch of a union is one mistake, and what was expected is any of the branches.
    """
    every = error.errors(include_url=False)
    first = every[0]
    branch = next((n for n, part in enumerate(first["loc"]) if str(part).startswith(_BRANCH)), None)
    if branch is not None:
        alike = [one for one in every if one["loc"][:branch] == first["loc"][:branch]]
        first = max(alike, key=lambda one: len(one["loc"]))
        if len(first["loc"]) == branch + 1:  # no branch took the value in order to find fault within
            remedies = [str(one["loc"][branch]).removeprefix(_BRANCH) or _said(one)[2] for one in alike]
            return _said(first)[0], repr(first["input"]), " or ".join(remedies)
    return _said(first)


def _said(one: Any) -> tuple[tuple[str, ...], str, str]:
    path = tuple(str(part) for part in one["loc"] if not str(part).startswith(_BRANCH))
    kind = one["type"]
    if kind == "everychip":
        context = one["ctx"]
        return (*path, *context["path"]), context["found"], context["remedy"]
    if kind == "missing":
        return path, "no value", "a value: this key is required"
    message = _WORDS.get(kind) or one["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind.startswith(("greater_than", "less_than")):
        message = f"{NUMBER} {message}"
    return path, repr(one["input"]), message[0].lower() + message[1:]
