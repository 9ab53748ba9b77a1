"""Which of torch's functions an array carries out, and which only move a weight's numbers about."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch

READS: dict[Any, Callable[..., torch.Tensor]] = {}
"""Functions that multiply activations by a weight."""

CELLWISE: dict[Any, Callable[..., torch.Tensor]] = {}
"""Functions of weights alone that stand for something the hardware can do."""

FACTORS = ("input", "other", "mat1", "batch1", "vec", "mat2", "batch2")
"""What torch calls the factors of products, in their order, where they are passed by name."""

F = TypeVar("F", bound=Callable[..., torch.Tensor])


def carries_out(*functions: Any, cellwise: bool = False) -> Callable[[F], F]:
    """Register what an array does in place of some of torch's functions.

    Args:
        functions: torch's, as `__torch_function__` is handed them.
        cellwise: whether they are of weights alone, and no read.
    """

    def register(own: F) -> F:
        for function in functions:
            (CELLWISE if cellwise else READS)[function] = own
        return own

    return register


def carries_out_in_dims(*functions: Any) -> Callable[[F], F]:
    """The same for a function whose first argument is a number of dimensions: torch's for 1, 2, 3, ….

    Args:
        functions: torch's, for one dimension, two, and so on.
    """

    def register(own: F) -> F:
        for dims, function in enumerate(functions, start=1):
            READS[function] = partial(own, dims)
        return own

    return register


T = torch.Tensor

VIEWS: frozenset[Any] = frozenset(
    [
        *(T.t, T.T.__get__, T.mT.__get__, T.transpose, T.permute, T.swapaxes, T.movedim, T.contiguous),  # type: ignore[attr-defined]
        *(T.to, T.type, T.type_as, T.float, T.double, T.half, T.bfloat16, T.cpu, T.cuda),
        *(T.detach, T.clone, T.data.__get__, T.requires_grad_),  # type: ignore[attr-defined]
        *(T.view, T.view_as, T.reshape, T.flatten, T.unflatten, T.squeeze, T.unsqueeze, T.expand),
        *(T.select, T.narrow, T.split, T.chunk, T.unbind, T.__getitem__, T.__iter__, T.split_with_sizes),
        *(torch.t, torch.transpose, torch.permute, torch.swapaxes, torch.movedim, torch.detach),
        *(torch.clone, torch.reshape, torch.flatten, torch.unflatten, torch.squeeze, torch.unsqueeze),
        *(torch.select, torch.narrow, torch.split, torch.chunk, torch.unbind),
    ]
)
"""Functions that give the same numbers in another place, shape or type."""
