"""Columns of a table as inputs and targets: a Dataset or DatasetDict of the hub, or a pandas frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from everychip.data.examples import Examples
from everychip.data.frames import is_frame, numbers_of
from everychip.data.images import decode, normalise
from everychip.data.pairs import LABELS, tensor_of
from everychip.errors import DataError, known_names

_SPLITS = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
_NUMBERING = ("idx", "id", "__index_level_0__")
"""Columns that number the rows, which no model takes."""


def is_table(data: Any) -> bool:
    """Whether the data is a table with columns by name."""
    if isinstance(data, Mapping) and data:
        return all(_is_hub(part) for part in data.values())
    return _is_hub(data) or is_frame(data)


def has_splits(data: Any) -> bool:
    """Whether this is a dict of splits by name, each of which holds inputs with targets.

    >>> has_splits({"train": ([[0.0]], [1]), "test": ([[0.0]], [1])}), has_splits({"x": [0.0], "y": [1]})
    (True, False)
    """
    known = {name for names in _SPLITS.values() for name in names}
    return isinstance(data, Mapping) and bool(data) and set(data) <= known and not is_table(data)


def columns(
    data: Any,
    *,
    x: str | Sequence[str] | None = None,
    y: str | None = None,
    split: str | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
    size: int | None = None,
    labelled: bool = True,
) -> Examples:
    """The columns of a table as examples, all of them in memory.

    Args:
        data: a Dataset or DatasetDict of the hub library, or a pandas DataFrame.
        x: the input column, or several, which the model then takes by these names; absent, every column of
            numbers or images that is not the target or a numbering of the rows. Numbers of a pandas frame
            are one input, [n, columns].
        y: the target column; absent, labels, label, y, target or targets.
        split: of a DatasetDict; absent or "test", test or else validation.
        mean, std: of pixels in 0 … 1, one number for all channels or one each: x = (pixel − mean) / std, as
            the network was trained; needed where there are images.
        size: side in pixels that images are resized to.
        labelled: False takes a table without targets, too.

    Returns:
        Inputs and targets, a row each.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "target": [0.5, 0.7]})
    >>> columns(frame).x.shape, columns(frame, x="a").x.shape
    (torch.Size([2, 2]), torch.Size([2]))
    """
    table = one_split(data, split)
    names = list(table.columns) if is_frame(table) else list(table.column_names)
    target = _target(names, y, labelled=labelled)
    asked = [x] if isinstance(x, str) else None if x is None else list(x)
    for name in asked or ():
        if name not in names:
            raise DataError("data.columns.x", found=f"no column {name!r}", remedy=known_names(name, names))
    others = asked or [name for name in names if name != target and name not in _NUMBERING]
    if is_frame(table):
        return _of_frame(table, others, target, one=isinstance(x, str))
    parts = {name: _column(table, name, mean, std, size, asked=asked is not None) for name in others}
    read = {name: part for name, part in parts.items() if part is not None}
    if not read:
        found = f"columns {', '.join(others)}, none of numbers or images"
        raise DataError("data", found=found, expected="inputs", remedy="text is turned into tokens first")
    inputs = next(iter(read.values())) if len(read) == 1 else read
    return Examples(inputs, None if target is None else _numbers(table, target))


def one_split(data: Any, split: str | None) -> Any:
    """The split of a dict of them; absent or "test", test or else validation."""
    if not isinstance(data, Mapping) or is_frame(data):
        return data
    wanted = _SPLITS.get(split or "test", (split,))
    found = next((data[name] for name in wanted if name in data), None)
    if found is None:
        known = ", ".join(data)
        raise DataError(
            "data",
            found=f"splits {known}",
            expected=f"one called {wanted[0]}",
            remedy=f'data["{next(iter(data))}"] is one split',
        )
    return found


def _target(names: Sequence[str], asked: str | None, *, labelled: bool) -> str | None:
    found = asked or next((name for name in LABELS if name in names), None)
    if found in names or (found is None and not labelled):
        return found
    missing = "no column of targets" if found is None else f"no column {found!r}"
    raise DataError(
        "data",
        found=f"{missing} among {', '.join(map(str, names))}",
        expected=f"one of {', '.join(LABELS)}",
        remedy="ec.data.columns(data, x=…, y=…) names the columns",
    )


def _of_frame(frame: Any, names: Sequence[str], target: str | None, *, one: bool) -> Examples:
    numbers = frame[names[0]].to_numpy() if one else numbers_of(frame, names, where="data")
    x = tensor_of(numbers, where="x")
    return Examples(
        x, None if target is None else tensor_of(frame[target].to_numpy(), where=f"data.{target}")
    )


def _column(
    table: Any,
    name: str,
    mean: float | tuple[float, ...] | None,
    std: float | tuple[float, ...] | None,
    size: int | None,
    *,
    asked: bool,
) -> Tensor | None:
    """A column of images or numbers; None for text that nobody requested."""
    from datasets import Image, Value

    feature = table.features[name]
    if isinstance(feature, Image):
        if mean is None or std is None:
            raise DataError(
                f"data.{name}",
                found="images of 0 … 255, and no word on how the network takes them",
                expected="mean and std of pixels in 0 … 1",
                remedy="ec.data.columns(data, mean=0.5, std=0.5), or as the network was trained",
            )
        cells = table.select_columns(name).cast_column(name, Image(decode=False))[:][name]
        pixels = decode(dict(enumerate(cells)), size=size, where=f"data.{name}")
        pair = tuple(one if isinstance(one, tuple) else (one,) for one in (mean, std))
        return normalise(pixels, mean=pair[0], std=pair[1], where=f"data.{name}")
    text = isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    return None if text and not asked else _numbers(table, name)


def _numbers(table: Any, name: str) -> Tensor:
    values = table.with_format(None).select_columns(name)[:][name]
    return tensor_of(list(values), where=f"data.{name}")


def _is_hub(data: Any) -> bool:
    """Whether this is a data set of the hub library, which is not imported to find out."""
    known = type(data).__module__.partition(".")[0] == "datasets" and not isinstance(data, Mapping)
    return known and hasattr(data, "column_names") and hasattr(data, "select_columns")
