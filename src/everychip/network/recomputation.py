"""Activation checkpointing: what backward computes again, it computes with the chip of the forward."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn
from torch.func import functional_call

from everychip.array import TiledWeight
from everychip.network.eager import eager_on
from everychip.network.exclusive import exclusive

# What `torch.utils.checkpoint.checkpoint` hands the function to that backward calls again.
_GENERATOR, _REENTRANT = "_checkpoint_without_reentrant_generator", "CheckpointFunction"
_originals = {name: getattr(checkpointing, name) for name in (_GENERATOR, _REENTRANT)}
_counting = threading.Lock()
_inside = 0


@dataclass(frozen=True)
class _Placed:
    """A chip in place of a model's tensors, and the thread that runs it."""

    model: nn.Module
    chip: Mapping[str, Tensor]
    thread: int


_placed: ContextVar[_Placed | None] = ContextVar("placed", default=None)


@contextmanager
def recomputed_with(model: nn.Module, chip: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, checkpointed parts of the model remember the chip, so that backward runs them with it again.

    `functional_call` puts the model's own tensors back when the forward ends; what `torch.utils.checkpoint`
    then computes again would be the digital network, and its gradients those of no chip. Reentrant
    checkpoints are carried out as the others, which save as much and give the same gradients. chip: under
    every name that the model holds its tensors by.

    Source: pytorch/functorch issue 993.
    """
    if not torch.is_grad_enabled():
        yield
        return
    token = _placed.set(_Placed(model, chip, threading.get_ident()))
    _count(1)
    try:
        yield
    finally:
        _count(-1)
        _placed.reset(token)


def _count(change: int) -> None:
    """Torch's own functions stand in torch while no chip is run, in whatever number of threads."""
    global _inside  # noqa: PLW0603 (a count of the process)
    with _counting:
        _inside += change
        if _inside == 0:
            for name, original in _originals.items():
                setattr(checkpointing, name, original)
        elif _inside == change:
            setattr(checkpointing, _GENERATOR, _generator)
            setattr(checkpointing, _REENTRANT, _Reentrant)


def _generator(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    placed = _placed.get()
    again = function if placed is None else _on_chip(function, placed)
    return _originals[_GENERATOR](again, *args, **kwargs)


class _Reentrant:
    """Stands for the autograd function of reentrant checkpoints."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        if _placed.get() is None:
            return _originals[_REENTRANT].apply(function, preserve_rng_state, *args)
        return checkpointing.checkpoint(
            function, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state
        )


def _on_chip(function: Callable[..., Any], placed: _Placed) -> Callable[..., Any]:
    """The function with the chip in its place, and the noise of its reads where it now is."""
    weights = [weight for weight in placed.chip.values() if isinstance(weight, TiledWeight)]
    reads = list(dict.fromkeys(w.cells.rng for w in weights if w.cells.rng is not None))
    begun = [rng.get_state() for rng in reads]

    def again(*args: Any, **kwargs: Any) -> Any:
        with (
            exclusive(placed.model, thread=placed.thread),
            recomputed_with(placed.model, placed.chip),
            eager_on(placed.model, placed.chip.values()),
        ):
            now = [rng.get_state() for rng in reads]
            try:
                for rng, state in zip(reads, begun, strict=True):
                    rng.set_state(state)
                within = {f"model.{name}": tensor for name, tensor in placed.chip.items()}
                part = _Part(placed.model, function)
                return functional_call(part, within, args, kwargs, tie_weights=False)
            finally:
                for rng, state in zip(reads, now, strict=True):
                    rng.set_state(state)

    return again


class _Part(nn.Module):
    """A part of a model as a module, for `functional_call` to run."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.__dict__["function"] = function  # not as a submodule, which it may be

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["function"](*args, **kwargs)
