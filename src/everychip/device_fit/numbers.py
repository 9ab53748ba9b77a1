"""Numbers as instruments write them: decimal commas, OVERFLOW, empty cells."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from everychip.errors import ConfigError, DataError

_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_SHOWN = 4
_OVERFLOW = 9.9e37
"""What instruments send for a reading out of range, by SCPI; 9.91e37 for none at all."""


def numbers(
    source: str, columns: Mapping[str, Sequence[str]], decimal: str | None
) -> dict[str, Float[np.ndarray, " rows"]]:
    """The cells of each column as numbers, NaN where one is none, or 9.9E+37, an instrument's overflow.

    decimal: the decimal mark, "," or "."; absent, a comma where the file has no number with a point, and
    refused where that cannot be distinguished from a separator of thousands.

    >>> numbers("a.csv", {"target": ["0,5", "OVERFLOW", "9,9E+37"]}, None)
    {'target': array([0.5, nan, nan])}
    """
    comma = _has_commas(source, columns.values(), decimal)
    read = {name: _of(cells, comma=comma) for name, cells in columns.items()}
    return {name: np.where(np.abs(values) < _OVERFLOW, values, math.nan) for name, values in read.items()}


def reasons(cells: Iterable[str]) -> str:
    """What the cells that are no numbers say, and how often: the words of a note.

    >>> reasons(["OVERFLOW", "", "OVERFLOW"])
    'OVERFLOW 2, empty 1'
    """
    counted = Counter(cell[:20] or "empty" for cell in cells).most_common()
    more = sum(count for _, count in counted[_SHOWN:])
    words = [f"{text} {count}" for text, count in counted[:_SHOWN]]
    return ", ".join([*words, f"others {more}"] if more else words)


def bad_rows(columns: Mapping[str, Float[np.ndarray, " rows"]]) -> Bool[np.ndarray, " rows"]:
    """Which rows have a cell that is no finite number."""
    bad: np.ndarray = ~np.all([np.isfinite(values) for values in columns.values()], axis=0)
    return bad


def _has_commas(source: str, columns: Iterable[Sequence[str]], decimal: str | None) -> bool:
    if decimal not in (None, ",", "."):
        raise ConfigError("--decimal", found=repr(decimal), expected="a comma or a point")
    if decimal is not None:
        return decimal == ","
    cells = {cell for column in columns for cell in column}
    commas = sorted(cell for cell in cells if _COMMA.fullmatch(cell))
    if not commas:
        return False
    point = next((cell for cell in sorted(cells) if "." in cell and _is_number(cell)), None)
    if point is not None:
        found = f"{commas[0]} and {point}, a decimal comma beside a decimal point"
        raise DataError(source, found=found, expected="one of the two", remedy='--decimal "," or "."')
    if all(_THOUSANDS.fullmatch(cell) for cell in commas):
        found = f"{commas[0]}, whose comma may separate decimals or thousands"
        raise DataError(source, found=found, remedy='--decimal "," if it separates decimals; else remove it')
    return True


def _of(cells: Sequence[str], *, comma: bool) -> Float[np.ndarray, " rows"]:
    if not comma:
        try:
            return np.array(cells, dtype=np.float64)
        except ValueError:
            return np.array([float(cell) if _is_number(cell) else math.nan for cell in cells])
    plain = ["" if "." in cell else cell.replace(",", ".") for cell in cells]
    return np.array([float(cell) if _is_number(cell) else math.nan for cell in plain])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
