"""A pandas frame's columns of numbers as one array, pandas not imported to find out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everychip.errors import DataError


def is_frame(data: Any) -> bool:
    """Whether this is a pandas DataFrame.

    >>> is_frame({"a": [1]})
    False
    """
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns")


def numbers_of(frame: Any, names: Sequence[Any], *, where: str) -> NDArray[Any]:
    """The columns as [n, columns]; yes and no are 1 and 0.

    Args:
        frame: a DataFrame.
        names: of columns; others than numbers are refused.
        where: what errors call the frame.

    Returns:
        One type for all columns.

    >>> import pandas as pd
    >>> numbers_of(pd.DataFrame({"a": [1.5, 2.0], "b": [True, False]}), ["a", "b"], where="x").tolist()
    [[1.5, 1.0], [2.0, 0.0]]
    """
    for name in names:
        kind = frame[name].dtype
        if kind.kind not in "biuf":
            raise DataError(
                f"{where}.{name}",
                found=f"a column of {kind}",
                expected="numbers",
                remedy="ec.data.columns(frame, x=[…]) names the columns of numbers, and pandas.get_dummies "
                "makes some of categories",
            )
    # Beside numbers, pandas would hand out yes and no as objects, and its own missing values, too.
    kinds = {frame[name].dtype for name in names}
    mixed = any(not isinstance(kind, np.dtype) or kind.kind == "b" for kind in kinds)
    kept = frame[list(names)]
    found: NDArray[Any] = kept.to_numpy(np.float64) if mixed else kept.to_numpy()
    return found
