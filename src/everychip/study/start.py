"""Where a training starts: from the weights of another one in place of fresh ones."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema
from torch import Tensor, nn

from everychip.config.component import Config, refusal
from everychip.errors import StoreError
from everychip.study import store

_SETTLED = 2.0  # seconds, more than the step of any file system's clock
_EXPECTED = "the folder of a complete run or a .safetensors file"
_SAVE = "weights of torch.save become one by safetensors.torch.save_file(model.state_dict(), FILE)"


class Start(Config):
    """The weights that a training starts from, such as those of a digital training.

    file: the folder of a complete run, or a .safetensors file. sha256: of the weights' names, types, shapes
    and values, wherever they lie; found out when a recipe without it is read, checked when they are loaded.

    Source: Joshi et al., Nat. Commun. 11:2473 (2020), who train with noise from digitally trained weights.

    >>> Start(file="no/such/folder")
    Traceback (most recent call last):
    everychip.errors.ConfigError: Start.file: found no such file (no/such/folder); expected the folder of ...
    """

    naming: ClassVar[tuple[str, ...]] = ("file",)

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        table = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, {**table, "required": ["file"]}]}

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, data: Any) -> Any:
        table = {"file": data} if isinstance(data, str) else data
        if not isinstance(table, Mapping) or "sha256" in table or not isinstance(table.get("file"), str):
            return table
        try:
            return {**table, "sha256": _hash_in(table["file"])}
        except StoreError as error:
            raise refusal(("file",), f"{error.found} ({error.where})", error.expected or _EXPECTED) from None
        except OSError as error:  # a path that no file can have
            found = f"{(error.strerror or 'an unusable path').lower()} ({table['file']})"
            raise refusal(("file",), found, _EXPECTED) from None

    def load(self, model: nn.Module) -> None:
        """Put the weights into a freshly built model, or refuse them as those of another."""
        from safetensors.torch import load_model

        path = _weights_in(self.file)
        tensors = _tensors(path)
        if weights_hash(tensors) != self.sha256:
            raise StoreError(
                str(path),
                found="other weights than when the recipe was read",
                expected=f"those of SHA-256 {self.sha256[:12]}…",
                remedy="name the file anew: start.file",
            )
        own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        for name, value in tensors.items():
            if own.get(name) != tuple(value.shape):
                has = f"one of shape {list(own[name])}" if name in own else "no such tensor in the model"
                raise _mismatch(path, f"{name} of shape {list(value.shape)}", has)
        missing, _ = load_model(model, path, strict=False)
        if missing:
            raise _mismatch(path, "weights of another model", f"also a tensor {min(missing)}")


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, whatever else their file says.

    >>> one, two = {"a": torch.zeros(2), "b": torch.ones(1)}, {"b": torch.ones(1), "a": torch.zeros(2)}
    >>> weights_hash(one) == weights_hash(two), weights_hash(one) == weights_hash({"a": torch.zeros(2)})
    (True, False)
    """
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def with_starts(table: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """A recipe or a study with its paths of weights changed, wherever the keys of a recipe may stand in it.

    >>> with_starts({"base": {"start": "a"}, "sweep": {"start": ["b"]}, "title": "a"}, str.upper)
    {'base': {'start': 'A'}, 'sweep': {'start': ['B']}, 'title': 'a'}
    """
    found = dict(table)
    for key in ("start", "start.file"):
        if key in found:
            found[key] = _placed(found[key], place)
    for key in ("base", "always", "sweep"):
        if isinstance(found.get(key), Mapping):
            found[key] = with_starts(found[key], place)
    for axis, options in (found.get("axes") or {}).items() if isinstance(found.get("axes"), Mapping) else ():
        if isinstance(options, Mapping):
            changed = {
                label: with_starts(change, place) if isinstance(change, Mapping) else change
                for label, change in options.items()
            }
            found["axes"] = {**found["axes"], axis: changed}
    return found


def beside(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe or a study as it is written into a folder: its relative paths of weights lead from there."""

    def place(path: str) -> str:
        return path if Path(path).is_absolute() else os.path.relpath(path, folder)

    return with_starts(table, place)


def _placed(value: Any, place: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return place(value)
    if isinstance(value, list):
        return [_placed(item, place) for item in value]
    if isinstance(value, Mapping) and "file" in value:
        return {**value, "file": _placed(value["file"], place)}
    return value


def _weights_in(file: str) -> Path:
    """The file of weights; of a run's folder, as they were written."""
    path = Path(file)
    return store.open_run(path).folder / store.MODEL if path.is_dir() else path


def _hash_in(file: str) -> str:
    path = _weights_in(file)
    about = path.stat() if path.is_file() else None
    # A file written this moment may be written again with the same time: what is remembered has settled.
    if about is None or time.time() - about.st_mtime < _SETTLED:
        return _hash_now(path)
    return _hash_at(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)  # a study reads its recipes many times
def _hash_at(path: Path, modified: int, size: int) -> str:
    del modified, size
    return _hash_now(path)


def _hash_now(path: Path) -> str:
    tensors = _tensors(path)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise StoreError(str(path), found=f"weights that are not finite: {name}", expected="finite ones")
    return weights_hash(tensors)


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise StoreError(str(path), found="no such file", expected=_EXPECTED)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise StoreError(
            str(path), found=f"weights that cannot be read: {error}", expected=f"{_EXPECTED}; {_SAVE}"
        ) from None


def _mismatch(path: Path, found: str, expected: str) -> StoreError:
    return StoreError(str(path), found=found, expected=expected, remedy="start from the same kind of model")
