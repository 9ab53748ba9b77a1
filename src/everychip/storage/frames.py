"""Columns as a data frame of pandas or polars, which come with extras of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from everychip.errors import MissingExtraError


def pandas_frame(columns: Mapping[str, Sequence[Any]], *, where: str) -> Any:
    """A pandas DataFrame of columns of equal length.

    Args:
        columns: values by name.
        where: what an error calls the caller.

    Returns:
        The frame, a row per entry.
    """
    try:
        import pandas as pd  # noqa: TID251 (asked for by name, and only here)
    except ImportError:
        raise MissingExtraError(where, "pandas") from None
    return pd.DataFrame(dict(columns))


def polars_frame(columns: Mapping[str, Sequence[Any]], *, where: str) -> Any:
    """A polars DataFrame of columns of equal length.

    Args:
        columns: values by name.
        where: what an error calls the caller.

    Returns:
        The frame, a row per entry.
    """
    try:
        import polars as pl
    except ImportError:
        raise MissingExtraError(where, "polars") from None
    return pl.DataFrame(dict(columns))
