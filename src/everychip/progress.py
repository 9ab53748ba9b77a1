"""Progress: what long work tells of itself while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from everychip.errors import ConfigError, shown

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Event:
    """One sign of life: which stage, how far of how much, and the numbers that go with it."""

    stage: str
    done: int
    total: int
    values: Mapping[str, float] = field(default_factory=dict)


Listener = Callable[[Event], None]
Progress = Listener | bool | None
"""Who is told: a listener; True, a bar wherever it is run; False, nobody; None, a bar on a terminal."""


def quiet(event: Event) -> None:
    """A listener that says nothing."""


def _console() -> Console:
    """Standard error; in a notebook its widget, or, without ipywidgets, a line that is written over."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_jupyter or find_spec("ipywidgets") is not None:
        return console
    return Console(stderr=True, force_jupyter=False, force_terminal=True)


@contextmanager
def listening(progress: Progress) -> Iterator[Listener]:
    """The given listener, or a bar on standard error for work that takes over two seconds.

    Args:
        progress: a listener; True for a bar that stays, also where standard error is no terminal (in a
            notebook; a log gets its last state); False for none; None for one on a terminal only.
    """
    if callable(progress) or progress is False or (progress is None and not sys.stderr.isatty()):
        yield progress if callable(progress) else quiet
        return
    if progress is not None and progress is not True:
        raise ConfigError(
            "progress", found=shown(progress), expected="true, false, or a function of an event"
        )
    from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    bar = Bar(*columns, console=_console(), transient=progress is None)
    started = time.monotonic()
    tasks: dict[str, TaskID] = {}

    def show(event: Event) -> None:
        if time.monotonic() - started < 2:
            return
        if not tasks:
            bar.start()
        if event.stage not in tasks:
            tasks[event.stage] = bar.add_task(event.stage, total=event.total, text="")
        text = "  ".join(f"{name} {value:.4g}" for name, value in event.values.items())
        bar.update(tasks[event.stage], completed=event.done, total=event.total, text=text)

    try:
        yield show
    finally:
        if tasks:
            bar.stop()
