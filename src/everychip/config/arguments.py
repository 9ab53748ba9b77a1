"""What a public function takes: arguments are checked at the door, a mistake names function and argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from everychip.config.validation import must_be
from everychip.config.validation import whole as as_whole
from everychip.errors import ConfigError, shown

Check = Callable[[Any, str], object]
"""Raises where a value is none that its place takes."""

P = ParamSpec("P")
R = TypeVar("R")


def takes(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check arguments of a function before its first line, in the order of the checks.

    >>> @takes(chips=whole(least=1))
    ... def count(*, chips: int = 3) -> int:
    ...     return chips
    >>> count(chips=0)
    Traceback (most recent call last):
    everychip.errors.ConfigError: count.chips: found 0; expected a whole number, at least 1
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        names = list(inspect.signature(function).parameters)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = {**dict(zip(names, args, strict=False)), **kwargs}
            for name, check in checks.items():
                if name in given:
                    check(given[name], f"{function.__name__}.{name}")
            return function(*args, **kwargs)

        return checked

    return decorate


def _brief(value: Any) -> str:
    """A value as a line repeats it; of many values their number and names."""
    if isinstance(value, Mapping) and len(value) > 3:
        first = ", ".join(str(key) for key in list(value)[:2])
        return f"a {type(value).__name__} of {len(value)} entries ({first}, …)"
    return shown(value)


def whole(*, least: float | None = None) -> Check:
    """A whole number, of at least some size."""
    return lambda value, where: must_be(value, where, whole=True, least=least)


def number(*, least: float | None = None, above: float | None = None, below: float | None = None) -> Check:
    """A finite number within bounds."""
    return lambda value, where: must_be(value, where, least=least, above=above, below=below)


def index(value: Any, where: str) -> None:
    """A whole number of any type that has an index."""
    as_whole(value, where)


def optional(check: Check) -> Check:
    """The same, or None."""
    return lambda value, where: None if value is None else check(value, where)


def one_of(*names: str) -> Check:
    """One of a few names."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in names:
            raise ConfigError(where, found=shown(value), expected=" or ".join(map(repr, names)))

    return check


def several(check: Check) -> Check:
    """A value, or a list of them, each of which the check takes."""

    def checked(value: Any, where: str) -> None:
        for one in value if isinstance(value, list | tuple) else [value]:
            check(one, where)

    return checked


def a(kind: type | tuple[type, ...], words: str, *, remedy: str | None = None) -> Check:
    """A value of a class; of the class itself, the line says to call it."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, kind):
            return
        if isinstance(value, type) and issubclass(value, kind):
            name = value.__name__
            raise ConfigError(where, found=f"the class {name}", expected=f"a value of it: {name}(…)")
        raise ConfigError(where, found=_brief(value), expected=words, remedy=remedy)

    return check
