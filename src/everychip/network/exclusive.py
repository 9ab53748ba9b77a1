"""One thread at a time: what is swapped into a model, or switched on it, no other thread may see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from everychip.errors import ModelError

_changed = threading.Condition()
_uses: dict[int, list[frozenset[int]]] = {}
"""By thread: the modules, by their ids, of every use that the thread is inside of."""


def parts_of(model: nn.Module) -> frozenset[int]:
    """The ids of a model's modules, by which its uses are kept apart; one walk of the model."""
    return frozenset(id(module) for module in model.modules())


@contextmanager
def exclusive(
    model: nn.Module, *, parts: frozenset[int] | None = None, thread: int | None = None
) -> Iterator[None]:
    """Inside, no other thread runs, evaluates or trains this model or one that shares a module with it.

    A thread may enter as often as it likes.

    Args:
        model: the model.
        parts: its `parts_of`, where they are known; without them the model is walked.
        thread: in whose name, the caller's unless it is given: autograd runs parts of a backward on threads
            of its own while the one that called it waits.

    >>> model = nn.Linear(4, 2)
    >>> with exclusive(model), exclusive(nn.Sequential(model)):
    ...     pass
    """
    mine = threading.get_ident() if thread is None else thread
    modules = parts_of(model) if parts is None else parts
    with _changed:
        _changed.wait_for(lambda: _is_free(modules, mine))
        _uses.setdefault(mine, []).append(modules)
    try:
        yield
    finally:
        with _changed:
            _uses[mine].remove(modules)
            if not _uses[mine]:
                del _uses[mine]
            _changed.notify_all()


def _is_free(modules: frozenset[int], mine: int) -> bool:
    """Whether no other thread uses one of the modules."""
    others = (held for thread, held in _uses.items() if thread != mine)
    return all(modules.isdisjoint(used) for held in others for used in held)


_chips: set[int] = set()
"""The ids of the modules that hold a chip at the moment."""


@contextmanager
def holding_a_chip(model: nn.Module) -> Iterator[None]:
    """Inside, the model is a chip, and `must_not_be_a_chip` refuses it."""
    must_not_be_a_chip(model)
    modules = {id(module) for module in model.modules()}
    _chips.update(modules)
    try:
        yield
    finally:
        _chips.difference_update(modules)


def must_not_be_a_chip(model: nn.Module) -> None:
    """Refuse a model whose weights are those of a chip at the moment."""
    if _chips and any(id(module) in _chips for module in model.modules()):
        raise ModelError(
            type(model).__name__,
            found="a model that is a chip at the moment, inside a loop over ec.chips",
            expected="its own weights",
            remedy="run it there, and program, evaluate or train it outside of the loop",
        )
