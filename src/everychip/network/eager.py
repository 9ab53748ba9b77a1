"""Compiled models on weights that no compiler can trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from everychip.array import TiledWeight
from everychip.errors import ModelError
from everychip.network.straight_through import CleanGradientWeight

_TRACED_BY_HAND = (TiledWeight, CleanGradientWeight)


@contextmanager
def eager_on(model: nn.Module, tensors: Iterable[Tensor]) -> Iterator[None]:
    """Inside, what `torch.compile` compiled runs as it is written, if one of the tensors needs that.

    Weights on tiles, and those that act clean in backward, are carried out function by function.
    """
    if not any(isinstance(tensor, _TRACED_BY_HAND) for tensor in tensors) or not is_compiled(model):
        yield
        return
    if not hasattr(torch.compiler, "set_stance"):  # PyTorch before 2.6
        raise ModelError(
            type(model).__name__,
            found=f"a compiled model, which PyTorch {torch.__version__} cannot run without its compiler",
            expected="a model that is not compiled, for an array or a clean gradient",
            remedy="pass the model before torch.compile, or use PyTorch 2.6 or later",
        )
    with torch.compiler.set_stance("force_eager"):
        yield


def is_compiled(model: nn.Module) -> bool:
    """Whether the model or a part of it was compiled, by `torch.compile(model)` or `model.compile()`."""
    return any(
        module._compiled_call_impl is not None or hasattr(module, "_orig_mod") for module in model.modules()
    )
