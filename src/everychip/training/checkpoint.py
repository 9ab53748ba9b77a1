"""Checkpoints: tensors and a little JSON in one safetensors file, replaced in one step."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from everychip.errors import ModelError, StoreError


def must_be_writable(path: Path) -> None:
    """Raise before the work begins where a checkpoint could not be written after it."""
    temporary = _temporary(path)
    try:
        temporary.touch()
    except OSError as error:
        raise _unwritable(path, error) from None
    temporary.unlink()


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON facts under a temporary name, then rename: the old file or the new, whole."""
    temporary = _temporary(path)
    # Safetensors refuses tensors that share memory, as tied weights do.
    unshared = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    text = json.dumps(facts)
    metadata = {"facts": text, "sha256": _content(unshared, text)}
    try:
        save_file(unshared, temporary, metadata=metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _unwritable(path: Path, error: Exception) -> StoreError:
    reason = getattr(error, "strerror", None) or str(error)
    return StoreError(
        str(path), found=f"that a checkpoint cannot be written ({reason})", expected="a folder to write in"
    )


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
            facts: dict[str, Any] = dict(json.loads(metadata["facts"]))
            content = _content(tensors, metadata["facts"])
            if metadata.get("sha256", content) != content:  # earlier versions wrote none
                raise ValueError("content that differs from its SHA-256")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise StoreError(
            str(path), found=f"a damaged or foreign checkpoint ({error})", remedy="delete it to start again"
        ) from None
    return tensors, facts


def tensors_of(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """A module's state by names below a prefix; a state that is no tensor cannot be written and is refused.

    >>> list(tensors_of({"weight": torch.ones(2)}, "best."))
    ['best.weight']
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ModelError(
                name,
                found=f"a {type(value).__name__} from get_extra_state",
                expected="a tensor, which is all that a checkpoint can hold",
                remedy="train without checkpoint=, or let get_extra_state return a tensor",
            )
    return {f"{prefix}{name}": value for name, value in state.items()}


def _content(tensors: Mapping[str, Tensor], facts: str) -> str:
    """SHA-256 of all that a checkpoint says."""
    found = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `optimizer.<parameter index>.<key>`."""
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `flatten` took out; the parameter groups are the ones the optimiser was built with.

    Fused kernels walk a parameter and its moments through memory side by side, so each moment gets its
    parameter's memory layout, not the file's.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        moment = key != "step" and tensor.shape == parameter.shape
        value = torch.empty_like(parameter).copy_(tensor).detach() if moment else tensor
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def digest(x: Tensor, *others: Tensor, rows: int = 256) -> str:
    """What tells one training set from another: its shapes, its labels and some of its inputs.

    Args:
        x: the first inputs.
        others: all other tensors, the labels last.
        rows: of how many inputs the numbers count; of the last tensor all do.

    >>> x, y = torch.zeros(4, 2), torch.arange(4)
    >>> digest(x, y) == digest(x.clone(), y), digest(x + 1, y) == digest(x, y)
    (True, False)
    """
    inputs, last = (x, *others[:-1]), others[-1:]
    text = hashlib.blake2b(digest_size=8)
    for tensor in inputs:
        text.update(f"{list(tensor.shape)} {tensor.dtype}".encode())
    some = [tensor[:: max(1, len(tensor) // rows)].reshape(-1) for tensor in inputs]
    for tensor in (*some, *last):
        text.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return text.hexdigest()


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it.

    >>> part({"best.w": 1, "model.w": 2}, "best.")
    {'w': 1}
    """
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
