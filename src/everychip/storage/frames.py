"""Columns as a data frame of pandas or polars, which come with extras of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

from everychip.errors import MissingExtraError


def frame(columns: Mapping[str, Sequence[Any]], package: Literal["pandas", "polars"], *, where: str) -> Any:
    """A DataFrame of columns of equal length.

    Args:
        columns: values by name.
        package: whose DataFrame, which is also the name of the extra.
        where: what an error calls the caller.

    Returns:
        The frame, a row per entry.
    """
    try:
        library = import_module(package)
    except ImportError:
        raise MissingExtraError(where, package) from None
    return library.DataFrame(dict(columns))
