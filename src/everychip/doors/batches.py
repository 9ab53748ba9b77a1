"""A batch of somebody's loader as inputs and labels: a pair, or a dict as Hugging Face's collators make."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from everychip.errors import DataError, known_names

LABELS = ("labels", "label", "y", "target", "targets")
"""What the labels of a dict batch are called, unless a name is given."""


def split_batch(batch: Any, *, labels: str | Sequence[str] = LABELS) -> tuple[Any, Any]:
    """The inputs and the labels of one batch.

    Args:
        batch: a pair (x, y), or a dict that holds the labels beside the model's keyword arguments.
        labels: the names under which a dict may hold the labels, the first that is there counts.

    Returns:
        x, as the model takes it (a dict goes in as keyword arguments), and y.

    Raises:
        DataError: of a batch that is neither, or has no labels.

    >>> split_batch(({"a": 1}, 2)), split_batch({"pixel_values": 1, "labels": 2})
    (({'a': 1}, 2), ({'pixel_values': 1}, 2))
    """
    names = (labels,) if isinstance(labels, str) else tuple(labels)
    if isinstance(batch, Mapping):
        found = next((name for name in names if batch.get(name) is not None), None)
        if found is None:
            raise DataError(
                "batch",
                found=f"a dict of {', '.join(map(str, batch)) or 'nothing'}",
                expected=f"labels under one of {', '.join(names)}",
                remedy=known_names(names[0], map(str, batch)) + '; name it: labels="…"',
            )
        return {name: value for name, value in batch.items() if name not in names}, batch[found]
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise DataError(
        "batch", found=f"a {type(batch).__name__}{size}", expected="a pair (x, y), or a dict with labels"
    )


def without_name(x: Any, model: nn.Module) -> Any:
    """A lone named input as the tensor that the model takes first, which also sizes exits; else x itself.

    Args:
        x: one batch of inputs.
        model: whose forward takes them.

    Returns:
        The tensor, where the first parameter of the forward has the name of the only input; else x.

    >>> class Net(nn.Module):
    ...     def forward(self, pixel_values, mask=None): ...
    >>> without_name({"pixel_values": 1}, Net()), without_name({"mask": 1}, Net())
    (1, {'mask': 1})
    """
    if not isinstance(x, Mapping) or len(x) != 1:
        return x
    parameters = list(inspect.signature(type(model).forward).parameters.values())[1:]
    takes = parameters and parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    return x[parameters[0].name] if takes and parameters[0].name in x else x
