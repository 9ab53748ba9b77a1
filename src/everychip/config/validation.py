"""What is refused, and how it is said in one line: values of another type, out of bounds, in no branch."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from numbers import Integral, Number, Real
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from everychip.config.deeper import places_of
from everychip.config.schema import meanings
from everychip.errors import ConfigError, known_names, shown

NUMBER, WHOLE = "a number", "a whole number"


def must_be(
    value: Any,
    where: str,
    *,
    whole: bool = False,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    most: float | None = None,
    remedy: str | None = None,
) -> None:
    """Refuse an argument of a function that is no finite number, or is one out of its bounds.

    whole: only a whole number will do. Bounds: least ≤ value ≤ most, above < value < below.

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
        and (most is None or value <= most)
    )
    if not inside:
        bounds = (("at least", least), ("more than", above), ("less than", below), ("at most", most))
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        expected = ", ".join(part for part in (WHOLE if whole else NUMBER, said) if part)
        raise ConfigError(where, found=shown(value), expected=expected, remedy=remedy)


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
        raise ConfigError(where, found=shown(value), expected=WHOLE) from None


class Kind(StrEnum):
    """Whether a name is not known, or a value is not what is expected."""

    UNKNOWN = "unknown"
    VALUE = "value"


class Mistake(NamedTuple):
    """One mistake: its place, what was found, the known names or what was expected, and which of the two."""

    path: tuple[str, ...]
    found: str
    remedy: str
    kind: Kind = Kind.VALUE

    def error(self, where: str) -> ConfigError:
        """The line that names the mistake, `where` before its place."""
        place = ".".join([where, *self.path])
        if self.kind is Kind.UNKNOWN:
            return ConfigError(place, found=self.found, remedy=self.remedy)
        return ConfigError(place, found=self.found, expected=self.remedy)


def errors_of(mistakes: Iterable[Mistake], where: str) -> ConfigError:
    """One error for all mistakes, with a line for each."""
    first, *others = (mistake.error(where) for mistake in mistakes)
    first.others = tuple(others)
    return first


def refusal(
    path: tuple[str, ...], found: str, remedy: str, *, kind: Kind = Kind.VALUE
) -> PydanticCustomError:
    """What a validator raises to say in one line where, what was found, and what was expected."""
    return PydanticCustomError(
        "everychip",
        "{found}; {remedy}",
        {"path": path, "found": found, "remedy": remedy, "kind": kind.value},
    )


def with_known_keys(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """The same report, whose unknown keys of this table come first and name the known ones.

    A required key that is absent is said with what it means.
    """
    unknown, others = [], []
    for one in error.errors(include_url=False):
        path = one["loc"]
        if one["type"] == "extra_forbidden" and len(path) == 1:
            remedy = _instead_of(str(path[0]), model)
            found = refusal((), "an unknown key", remedy, kind=Kind.UNKNOWN)
            unknown.append(InitErrorDetails(type=found, loc=path, input=one["input"]))
        elif one["type"] == "missing" and len(path) == 1:
            absent = refusal((), "no value", _required(str(path[0]), model))
            others.append(InitErrorDetails(type=absent, loc=path, input=one["input"]))
        else:
            others.append(_again(one))
    return ValidationError.from_exception_data(error.title, [*unknown, *others])


def _required(key: str, model: type[BaseModel]) -> str:
    """What a required key wants: an example of its family, or its meaning as the docstring has it."""
    field = model.model_fields[key]
    example = getattr(field.annotation, "example", "")
    if example:
        return f"a required value, such as {example}"
    meaning = meanings(model).get(key, "").rstrip(".")
    return f"a required value: {meaning}" if meaning else "a value: this key is required"


def _instead_of(key: str, model: type[BaseModel]) -> str:
    """The known keys, or the places of a key that stands in a table further down."""
    places = places_of(key, model)
    return f"did you mean {' or '.join(places)}?" if places else known_names(key, model.model_fields)


def _again(one: Any) -> InitErrorDetails:
    """A line of pydantic's report, to be reported again."""
    context = one.get("ctx", {})
    kind: Any = one["type"]
    if kind == "everychip":
        kind, context = PydanticCustomError("everychip", "{found}; {remedy}", context), {}
    return InitErrorDetails(type=kind, loc=one["loc"], input=one["input"], ctx=context)


def _only(expected: str, *, switch: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        number = isinstance(value, Number) and isinstance(value, bool) != switch
        if number or isinstance(value, str | bytes):
            raise refusal((), shown(value), expected)
        if isinstance(value, int | float) and not _fits(value):
            raise refusal((), shown(value), f"{expected} that {_HOLDS[type(value)]} holds")
        return value

    return check


_HOLDS = {int: "a 64-bit integer", float: "a float32"}
_LARGEST = 3.4028235e38  # of float32: what is larger becomes infinite in a tensor


def _fits(value: float) -> bool:
    """Whether a tensor can hold a number; what is not finite is refused in other words."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return not math.isfinite(value) or abs(value) <= _LARGEST


_CHECKS = {"float": _only(NUMBER), "int": _only(WHOLE), "bool": _only("true or false", switch=True)}
_BRANCH = "|"
"""Begins the part of an error's place that is a branch of a union; words for the branch may follow."""
_LONGEST_NAME = 100  # of a text that a remedy repeats


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


_TEXT = {"String should have ": "text of ", "String should match pattern": "text that matches the pattern"}


def every_mistake(error: ValidationError) -> list[Mistake]:
    """The mistakes of pydantic's report: of each its place, what was found, and what was expected.

    A value that is in no branch of a union is one mistake, and what was expected is any of the branches.
    """
    every = _without_consequences(error.errors(include_url=False))
    mistakes: dict[Any, Mistake] = {}
    for number, one in enumerate(every):
        branch = next((n for n, part in enumerate(one["loc"]) if str(part).startswith(_BRANCH)), None)
        if branch is None:
            mistakes[number] = _said(one)
        elif one["loc"][:branch] not in mistakes:
            alike = [other for other in every if other["loc"][:branch] == one["loc"][:branch]]
            mistakes[one["loc"][:branch]] = _of_union(alike, branch)
    return list(dict.fromkeys(mistakes.values()))


def _without_consequences(every: list[Any]) -> list[Any]:
    """Without lists that are too short because their items are wrong."""
    places = {one["loc"][:end] for one in every for end in range(len(one["loc"]))}
    return [one for one in every if one["type"] != "too_short" or one["loc"] not in places]


def _of_union(alike: list[Any], branch: int) -> Mistake:
    deepest = max(alike, key=lambda one: len(one["loc"]))
    if len(deepest["loc"]) > branch + 1:  # a branch took the value, and found fault within
        return _said(deepest)
    remedies = [str(one["loc"][branch]).removeprefix(_BRANCH) or _said(one).remedy for one in alike]
    return Mistake(_said(deepest).path, shown(deepest["input"]), " or ".join(remedies))


def _listed(value: Any) -> str:
    """How a text or a number is a list of one; a text that is no name is not repeated."""
    if isinstance(value, str):
        return f": [{json.dumps(value, ensure_ascii=False)}]" if len(value) <= _LONGEST_NAME else ""
    return f": [{shown(value)}]" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _said(one: Any) -> Mistake:
    path = tuple(str(part) for part in one["loc"] if not str(part).startswith(_BRANCH))
    kind = one["type"]
    if kind == "everychip":
        context = one["ctx"]
        place = (*path, *context["path"])
        return Mistake(place, context["found"], context["remedy"], Kind(context.get("kind", Kind.VALUE)))
    if kind == "missing":
        return Mistake(path, "no value", "a value: this key is required")
    if kind in ("list_type", "tuple_type") and len(path) == len(one["loc"]):
        return Mistake(path, shown(one["input"]), f"a list{_listed(one['input'])}")
    message = _WORDS.get(kind) or one["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    for theirs, ours in _TEXT.items():
        message = message.replace(theirs, ours)
    if kind.startswith(("greater_than", "less_than")):
        message = f"{NUMBER} {message}"
    return Mistake(path, shown(one["input"]), message[0].lower() + message[1:])
