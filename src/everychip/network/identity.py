"""What tells one network from another: structure, code, weights, and which of them are trained."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_PLAIN = (bool, int, float, str, type(None))


def identity_of(model: nn.Module) -> str:
    """A hash of a network as it now is: two networks of one hash are trained to the same weights.

    In it: every module's class, its code (without comments) and its settings, every tensor, and which
    parameters are frozen. Not in it: what is no part of the modules, such as a global that a forward reads.

    >>> layer = nn.Linear(2, 2)
    >>> one, other = nn.Sequential(layer, nn.ReLU()), nn.Sequential(layer, nn.Tanh())
    >>> identity_of(one) == identity_of(one), identity_of(one) == identity_of(other)
    (True, False)
    """
    found = hashlib.blake2b(digest_size=16)
    for name, module in model.named_modules():
        found.update(repr((name, _code(type(module)), module.extra_repr(), *_settings(module))).encode())
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for name, value in model.state_dict().items():
        found.update(repr((name, name in frozen)).encode())
        if isinstance(value, Tensor) and not is_lazy(value):
            found.update(f"{list(value.shape)} {value.dtype}".encode())
            found.update(_bytes(value))
    return found.hexdigest()


def _code(kind: type[nn.Module]) -> str:
    """A class by its name and what its code says; of PyTorch's own classes the name is enough."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.split(".")[0] == "torch":
        return name
    try:
        return f"{kind.__qualname__} {ast.dump(ast.parse(textwrap.dedent(inspect.getsource(kind))))}"
    except (OSError, TypeError, SyntaxError):  # typed into a console, or made at run time
        code = getattr(kind.forward, "__code__", None)
        return name if code is None else f"{name} {code.co_code.hex()} {code.co_names}"


def _settings(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The values that a forward may read: numbers and texts, and functions by their name."""
    for key, value in sorted(vars(module).items()):
        if key.startswith("_") or key == "training":
            continue
        if isinstance(value, _PLAIN) or _is_plain_tuple(value):
            yield key, repr(value)
        elif inspect.isroutine(value):
            yield key, getattr(value, "__qualname__", repr(type(value)))


def _is_plain_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, _PLAIN) for part in value)


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())
