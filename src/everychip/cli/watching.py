"""What a terminal, or a pipe, sees of runs while they go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from everychip.cli.advice import advice
from everychip.devices.ageing import duration as age
from everychip.errors import visible
from everychip.progress import Event
from everychip.scores import Score
from everychip.study.experiment import Experiment
from everychip.study.store import Run
from everychip.study.study import Watcher

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_PLAIN_EVERY = 30.0  # seconds between two lines about the same run over a pipe
_BESIDE_NAME = 54  # columns of a bar and its words
_TRAINING_SHARE = 0.8  # of a run's time, roughly; the rest is evaluation


def console(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal or COLUMNS says; a pipe, which has no width, gets 80 columns.

    Whatever is printed is text: nobody's brackets are styles, and nobody's escapes reach the terminal.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                yield part if part.control else Segment(visible(part.text, keep="\n"), part.style)

    return Plain(stderr=stderr, markup=False, emoji=False, force_jupyter=False)


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """A line on a terminal's standard error while something takes seconds; nothing over a pipe."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield
        return
    with out.status(visible(f"{words} …")):
        yield


@contextmanager
def watching(title: str) -> Iterator[Watcher]:
    """Bars on a terminal's standard error; over a pipe, a plain line now and then."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield Lines(title, out)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    )
    with Progress(*columns, console=out, transient=True) as bars:
        yield Bars(title, bars)


class Clock:
    """How much of the runs is done, and how long the rest will take at the pace so far."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.waiting, self.finished = 0, 0
        self.running: dict[str, float] = {}

    @property
    def share(self) -> float:
        """0 … 1 of what this process has to do."""
        return (self.finished + sum(self.running.values())) / max(1, self.waiting)

    def left(self) -> str:
        """The time left in words; nothing while it cannot be told."""
        spent = time.monotonic() - self.started
        if self.share < 0.01 or spent < 3:
            return ""
        return f"{duration(spent * (1 - self.share) / self.share)} left"


class Lines(Watcher):
    """Plain lines for a pipe or a log."""

    def __init__(self, title: str, out: Console) -> None:
        self._out, self._title, self._clock = out, title, Clock()
        self._names: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._heading = ""  # said before the first line, so that a mistake stays alone on its line
        self._advice = ""

    def begin(self, waiting: int, complete: int) -> None:
        self._clock.waiting = waiting
        self._heading = f"{self._title}: {waiting} to do, {complete} complete"

    def started(self, experiment: Experiment) -> None:
        self._names[experiment.id] = experiment.name
        self._told[experiment.id] = time.monotonic()
        if (words := advice(experiment)) not in ("", self._advice):
            self._advice = words
            self._say(words)

    def event(self, run: str, event: Event) -> None:
        self._clock.running[run] = share_of(event)
        if time.monotonic() - self._told[run] >= _PLAIN_EVERY:
            self._told[run] = time.monotonic()
            self._say(f"{self._names[run]}: {words_of(event)}")

    def finished(self, experiment: Experiment, run: Run | None, words: str) -> None:
        self._clock.running.pop(experiment.id, None)
        self._clock.finished += 1
        left = self._clock.left() if self._clock.finished < self._clock.waiting else ""
        counted = f"{self._clock.finished}/{self._clock.waiting}{', ' if left else ''}{left}"
        self._say(f"[{counted}] {result_of(experiment, run, words)}")

    def _say(self, words: str) -> None:
        for line in filter(None, (self._heading, words)):
            self._out.print(line, markup=False, highlight=False, soft_wrap=True)
        self._heading = ""


class Bars(Watcher):
    """One bar for all runs, and one for each that is running."""

    def __init__(self, title: str, bars: Progress) -> None:
        self._bars, self._title, self._clock = bars, title, Clock()
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._advice = ""

    def begin(self, waiting: int, complete: int) -> None:
        self._clock.waiting = waiting
        if waiting > 1:
            self._all = self._bars.add_task("all runs", total=1.0, text=f"0 of {waiting}")
        if complete:
            self._bars.console.print(f"{complete} complete already", style="dim", highlight=False)

    def started(self, experiment: Experiment) -> None:
        room = self._bars.console.width - _BESIDE_NAME
        name = experiment.name if len(experiment.name) <= room else experiment.name[: room - 1] + "…"
        self._tasks[experiment.id] = self._bars.add_task(name, total=1.0, text="starting")
        if (words := advice(experiment)) not in ("", self._advice):
            self._advice = words
            self._bars.console.print(words, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def event(self, run: str, event: Event) -> None:
        if run in self._tasks:
            self._clock.running[run] = share_of(event)
            self._bars.update(self._tasks[run], completed=share_of(event), text=self._timed(words_of(event)))
            self._update_all()

    def finished(self, experiment: Experiment, run: Run | None, words: str) -> None:
        self._clock.running.pop(experiment.id, None)
        self._clock.finished += 1
        self._bars.remove_task(self._tasks.pop(experiment.id))
        good = run is not None and run.status == "above_chance"
        from rich.text import Text

        mark = ("✓", "green") if good else ("✗", "red")
        line = Text.assemble(mark, " ", result_of(experiment, run, words))
        self._bars.console.print(line, highlight=False, soft_wrap=True)
        self._update_all()

    def _timed(self, words: str) -> str:
        left = self._clock.left() if self._all is None else ""
        return f"{words} · {left}" if left else words

    def _update_all(self) -> None:
        if self._all is not None:
            left = self._clock.left()
            counted = f"{self._clock.finished} of {self._clock.waiting}{' · ' if left else ''}{left}"
            self._bars.update(self._all, completed=self._clock.share, text=counted)


def share_of(event: Event) -> float:
    """How much of its run an event reports as done, 0 … 1.

    >>> share_of(Event("training", 5, 10)), share_of(Event("chips", 10, 10))
    (0.4, 1.0)
    """
    share = event.done / max(1, event.total)
    return (
        _TRAINING_SHARE * share
        if event.stage == "training"
        else _TRAINING_SHARE + (1 - _TRAINING_SHARE) * share
    )


def words_of(event: Event) -> str:
    """An event in words that fit beside a bar.

    >>> words_of(Event("training", 5, 10, {"epoch": 2, "loss": 0.5, "validation": 0.91}))
    'epoch 2, loss 0.500, validation 91.0 %'
    >>> words_of(Event("chips", 5, 10, {"sigma": 0.2, "accuracy": 0.875}))
    'chip 5 of 10, σ 0.2, 87.5 %'
    >>> words_of(Event("chips", 5, 10, {"time": 86400, "accuracy": 0.875}))
    'chip 5 of 10, 1 day, 87.5 %'
    """
    values = event.values
    if event.stage == "training":
        seen = f", validation {values['validation']:.1%}" if "validation" in values else _others(values)
        return f"epoch {values.get('epoch', 0):.0f}, loss {values.get('loss', 0):.3f}{seen}".replace(
            "%", " %"
        )
    where = f", σ {values['sigma']:g}" if "sigma" in values else ""
    where += f", {age(values['time'])}" if "time" in values else ""
    measured = f", {values['accuracy']:.1%}" if "accuracy" in values else _others(values)
    return f"chip {event.done} of {event.total}{where}{measured}".replace("%", " %")


_KNOWN = ("epoch", "loss", "sigma", "time", "accuracy", "validation")


def _others(values: Mapping[str, float]) -> str:
    """The scores of other tasks than classification, by their names."""
    return "".join(f", {name} {value:.4g}" for name, value in values.items() if name not in _KNOWN)


def result_of(experiment: Experiment, run: Run | None, words: str) -> str:
    """How a run ended, in one line."""
    if run is None:
        return f"{experiment.name}: failed: {words}"
    record = run.record
    said = str(record.get("words", ""))
    best = record.get("best_epoch"), record.get("validation_accuracy")
    if run.status == "above_chance" and None not in best:
        value, read = float(record["validation_accuracy"]), record.get("score")
        score = Score.of(read)
        shown = f"{score.name} " * (read is not None) + score.text(value).replace(" %", "%")
        said = f"validation {shown} in epoch {record['best_epoch'] + 1}"
    return f"{experiment.name}: {said.replace('%', ' %')}, {duration(float(record.get('seconds') or 0))}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(5.4), duration(75), duration(7500)
    ('5 s', '1 min 15 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
