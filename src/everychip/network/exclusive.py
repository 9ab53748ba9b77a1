"""One thread at a time: what is swapped into a model, or switched on it, no other thread may see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from everychip.errors import ModelError

_changed = threading.Condition()
_holders: dict[int, list[int]] = {}
"""By the id of a module that is in use: the thread that uses it, once for every use it is inside of."""


@contextmanager
def exclusive(model: nn.Module, *, thread: int | None = None) -> Iterator[None]:
    """Inside, no other thread runs, evaluates or trains this model or one that shares a module with it.

    A thread may enter as often as it likes. thread: in whose name, the caller's unless it is given: autograd
    runs parts of a backward on threads of its own while the one that called it waits.

    >>> model = nn.Linear(4, 2)
    >>> with exclusive(model), exclusive(nn.Sequential(model)):
    ...     pass
    """
    mine = threading.get_ident() if thread is None else thread
    modules = {id(module) for module in model.modules()}
    with _changed:
        _changed.wait_for(lambda: all(_holders.get(module, [mine])[0] == mine for module in modules))
        for module in modules:
            _holders.setdefault(module, []).append(mine)
    try:
        yield
    finally:
        with _changed:
            for module in modules:
                _holders[module].pop()
                if not _holders[module]:
                    del _holders[module]
            _changed.notify_all()


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
