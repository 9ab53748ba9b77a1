"""Progress: what long work tells of itself while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One sign of life: which stage, how far of how much, and the numbers that go with it."""

    stage: str
    done: int
    total: int
    values: Mapping[str, float] = field(default_factory=dict)


Listener = Callable[[Event], None]


def quiet(event: Event) -> None:
    """A listener that says nothing."""


@contextmanager
def listening(listener: Listener | None) -> Iterator[Listener]:
    """The given listener, or a bar on a terminal's standard error for work that takes over two seconds."""
    if listener is not None or not sys.stderr.isatty():
        yield listener or quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
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
