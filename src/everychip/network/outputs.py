"""Which tensor of a model's output is scored: a tensor, a tuple, a dict, an object of a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor

from everychip.errors import ModelError

NAMED = ("logits", "out", "sentence_embedding", "last_hidden_state")
"""What libraries call the output that is scored, of several: transformers, torchvision, encoders of text."""


def logits(output: Any) -> Tensor:
    """The tensor of a model's output that is scored.

    It is the output itself, or of a dict or an object what it names `logits`, `out`, `sentence_embedding` or
    `last_hidden_state`, in this order; else the first of a tuple, or the only tensor of a dict or dataclass.

    Args:
        output: what the model returned.

    Returns:
        [batch, …].

    >>> import torch
    >>> logits({"features": torch.ones(2, 8), "logits": torch.ones(2, 3)}).shape
    torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    named = of_name(output)
    if named is not None:
        return named
    if isinstance(output, Mapping):
        return _only(output)
    if is_dataclass(output):
        return _only(vars(output))
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise ModelError(
        "model output",
        found=f"a {type(output).__name__}",
        expected="a tensor of logits, an object or dict with logits, or a tuple that begins with them",
    )


def of_name(output: Any) -> Tensor | None:
    """The tensor that a dict or an object names as libraries do, or None.

    Args:
        output: what the model returned.

    Returns:
        [batch, …], or None.
    """
    for name in NAMED:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    return None


def _only(output: Mapping[str, Any]) -> Tensor:
    """The one tensor of a dict that can be a batch's answers: which of several it is, nobody knows."""
    tensors = {name: part for name, part in output.items() if isinstance(part, Tensor) and part.ndim}
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    raise ModelError(
        "model output",
        found=f"outputs {', '.join(map(str, output)) or 'nothing'}",
        expected=f"an entry called {', '.join(NAMED[:-1])} or {NAMED[-1]}, or one tensor alone",
        remedy="wrap the model in a module whose forward returns the entry that is meant"
        + (f', such as model(x)["{next(iter(tensors))}"]' if tensors else ""),
    )
