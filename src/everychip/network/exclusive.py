"""One thread at a time: what is swapped into a model, or switched on it, no other thread may see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

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
