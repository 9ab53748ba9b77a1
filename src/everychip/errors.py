"""Errors that teach: where — what was found — what was expected — what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EverychipError(Exception):
    """A mistake the user can mend. Its text is one line.

    >>> print(EverychipError("layers.0", found="a float64 bias", expected="float32", remedy="call .float()"))
    layers.0: found a float64 bias; expected float32; call .float()
    """

    def __init__(
        self, where: str, *, found: str, expected: str | None = None, remedy: str | None = None
    ) -> None:
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy
        parts = [f"{where}: found {found}"]
        if expected:
            parts.append(f"expected {expected}")
        if remedy:
            parts.append(remedy)
        super().__init__(" ".join("; ".join(parts).split()))


class ConfigError(EverychipError, ValueError):
    """A recipe or a component says something it cannot say."""


class DataError(EverychipError, ValueError):
    """A data set is missing, empty, damaged or inconsistent."""


class ModelError(EverychipError, ValueError):
    """A model cannot be programmed, run or given exits."""


class ArrayError(ModelError):
    """A model multiplies by a weight in a way that no array carries out."""


class SampleSizeError(EverychipError, ValueError):
    """The draws are too few for the statement that was asked of them."""


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
