"""Errors that teach: where — what was found — what was expected — what to do."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

LONGEST = 600
"""Characters of a value or a name that a line repeats; more are left out in its middle."""


def visible(text: str, *, keep: str = "") -> str:
    """The text with what a terminal obeys (escapes, controls, directions, half letters) as `\\x1b`.

    keep: control characters that stay, such as line breaks.

    >>> print(visible("a\\x1b[31mb"))
    a\\x1b[31mb
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in keep
        else character
        for character in text
    )


def shown(value: Any) -> str:
    """A value as a line repeats it, as in `repr`, also where it is too long for a line.

    >>> shown("a"), len(shown("a" * 10_000)) < 700, shown(1 << 40_000)
    ("'a'", True, 'a whole number of 40001 bits')
    """
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):
        return f"a whole number of {value.bit_length()} bits" if isinstance(value, int) else "a long value"


def shortened(text: str, *, longest: int = LONGEST) -> str:
    """The text, without its middle where it is too long.

    >>> shortened("abcdefgh", longest=4)
    'ab … gh'
    """
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"


_LONGEST_LIST = 4 * LONGEST  # what is known may be many names


class EverychipError(Exception):
    """A mistake the user can mend. Its text is one line.

    >>> print(EverychipError("layers.0", found="a float64 bias", expected="float32", remedy="call .float()"))
    layers.0: found a float64 bias; expected float32; call .float()
    """

    def __init__(
        self, where: str, *, found: str, expected: str | None = None, remedy: str | None = None
    ) -> None:
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy
        parts = [f"{shortened(where)}: found {shortened(found)}"]
        if expected:
            parts.append(f"expected {shortened(expected, longest=_LONGEST_LIST)}")
        if remedy:
            parts.append(shortened(remedy, longest=_LONGEST_LIST))
        super().__init__(visible(" ".join("; ".join(parts).split())))


class ConfigError(EverychipError, ValueError):
    """A recipe or a component says something it cannot say.

    Of a recipe with several mistakes, it is the first one, and `others` are the rest; its text has a line for
    each.
    """

    others: tuple[ConfigError, ...] = ()

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.others)])


class DataError(EverychipError, ValueError):
    """A data set is missing, empty, damaged or inconsistent."""


class ModelError(EverychipError, ValueError):
    """A model cannot be programmed, run or given exits."""


class ArrayError(ModelError):
    """A model multiplies by a weight in a way that no array carries out."""


class SampleSizeError(EverychipError, ValueError):
    """The draws are too few for the requested statement."""


class StoreError(EverychipError, OSError):
    """A run folder is damaged, foreign or cannot be written."""


class MissingExtraError(EverychipError, ImportError):
    """An optional package is not installed."""

    def __init__(self, where: str, extra: str, *, command: str | None = None) -> None:
        super().__init__(
            where,
            found=f"that the extra '{extra}' is not installed",
            remedy=command or f'pip install "everychip[{extra}]"',
        )


def known_names(name: str, known: Iterable[str]) -> str:
    """The known names, the likeliest meant one first.

    >>> known_names("guassian", ["gaussian", "levels"])
    'did you mean gaussian? known: gaussian, levels'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
