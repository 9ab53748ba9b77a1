"""One item or batch of a loader as its inputs and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everychip.data.frames import is_frame, numbers_of
from everychip.errors import DataError, shown

LABELS = ("labels", "label", "y", "target", "targets")
"""What targets are called in a dict, in the order in which they are looked for."""


def pair_of(batch: Any, *, labelled: bool = True, where: str = "data") -> tuple[Any, Any]:
    """Inputs and targets of one batch or item.

    A pair is (x, y); of three or more the last is y and the others are several inputs. In a dict the targets
    are called labels, label, y, target or targets; a single other entry is the input itself, several are
    passed to the model by their names. labelled: False takes a batch without targets, too.

    >>> pair_of({"pixel_values": 1, "labels": 2}), pair_of((1, 2, 3)), pair_of(1, labelled=False)
    ((1, 2), ((1, 2), 3), (1, None))
    """
    if isinstance(batch, Mapping):
        return _of_dict(batch, labelled=labelled, where=where)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, tuple | list) and len(batch) > 2:
        return tuple(batch[:-1]), batch[-1]
    if not labelled:
        return (batch[0] if isinstance(batch, tuple | list) and len(batch) == 1 else batch), None
    raise DataError(
        where,
        found=f"items that are a {type(batch).__name__}",
        expected="pairs (x, y), or a dict with labels",
    )


def _of_dict(batch: Mapping[str, Any], *, labelled: bool, where: str) -> tuple[Any, Any]:
    if hasattr(batch, "DESCR") and {"data", "target"} <= set(batch):  # a Bunch of scikit-learn
        return batch["data"], batch["target"]
    key = next((name for name in LABELS if name in batch), None)
    inputs = {str(name): part for name, part in batch.items() if name != key}
    if (key is None and labelled) or not inputs:
        raise DataError(
            where,
            found=f"a dict of {', '.join(map(str, batch)) or 'nothing'}",
            expected=f"inputs and one of {', '.join(LABELS)}",
            remedy="ec.data.columns(data, x=…, y=…) says which is which",
        )
    x = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    return x, None if key is None else batch[key]


def tensors_of(value: Any, *, where: str) -> Any:
    """The value with tensors for arrays, numbers and lists of numbers, in dicts and tuples, too.

    A list of tensors or of dicts stays a list: one item for each input.

    >>> tensors_of({"a": [1, 2]}, where="x")
    {'a': tensor([1, 2])}
    """
    if isinstance(value, Mapping):
        return {str(name): tensors_of(part, where=f"{where}.{name}") for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(tensors_of(part, where=where) for part in value)
    if isinstance(value, list) and value and isinstance(value[0], Tensor | Mapping):
        return [tensors_of(part, where=where) for part in value]
    return tensor_of(value, where=where)


def tensor_of(value: Any, *, where: str) -> Tensor:
    """An array, a number or a list of them as a tensor; numpy's float64 becomes float32."""
    if isinstance(value, Tensor):
        return value
    if is_frame(value):
        value = numbers_of(value, list(value.columns), where=where)
    try:
        array = np.asarray(value)
        words = _is_text(array)
        # A pandas frame hands out memory that is not to be written to.
        tensor = None if words else torch.as_tensor(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            where,
            found=f"a {type(value).__name__} ({error})",
            expected="a tensor or a numpy array",
            remedy=_remedy(value),
        ) from None
    if tensor is None:
        raise _of_words(array, where)
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _is_text(array: NDArray[Any]) -> bool:
    return isinstance(next(iter(array.reshape(-1)[:1].tolist()), None), str | bytes)


def _of_words(array: NDArray[Any], where: str) -> DataError:
    """The line about words, which are classes or inputs that somebody must number."""
    return DataError(
        where,
        found=f"text, such as {shown(array.reshape(-1)[:1].tolist()[0])}",
        expected="numbers",
        remedy="classes by name are numbered by numpy.unique(y, return_inverse=True)[1]; text is turned into "
        "tokens first",
    )


def _remedy(value: Any) -> str | None:
    if type(value).__module__.startswith("PIL."):
        return "ec.data.columns(data, mean=…, std=…) decodes images, or a transform to tensors"
    if hasattr(value, "toarray"):  # of scipy.sparse
        return "x.toarray()"
    return None


def stacked(items: Sequence[Any]) -> Any:
    """Single items as one batch: tensors of one shape stacked, of several shapes a list.

    >>> stacked([{"a": torch.zeros(2)}, {"a": torch.zeros(2)}])["a"].shape
    torch.Size([2, 2])
    >>> len(stacked([torch.zeros(2), torch.zeros(3)]))
    2
    """
    first = items[0]
    if isinstance(first, Tensor):
        return torch.stack(list(items)) if len({one.shape for one in items}) == 1 else list(items)
    if isinstance(first, Mapping):
        columns = {name: stacked([one[name] for one in items]) for name in first}
        return list(items) if any(isinstance(part, list) for part in columns.values()) else columns
    if isinstance(first, tuple):
        return tuple(stacked(list(column)) for column in zip(*items, strict=True))
    return list(items)
