"""One evaluation on several cores: forks of this process measure blocks of chips, whose rows come in order.

A fork holds the network, its data and all that was prepared, whatever they are made of, and starts in
milliseconds; ranges go to it and rows of numbers come back as JSON, so nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from everychip.data.stream import Stream
from everychip.errors import ConfigError, shown
from everychip.network.running import Runner
from everychip.scores import Score
from everychip.statistics.stopping import Until

Row = dict[str, float]
Rows = Callable[[range], Iterable[Row]]
"""Measures the chips of these numbers, one row of scores for each."""
LAST = 2**63
"""No chip has this number or a higher one: tables of draws have 64 bits for it."""
LARGEST, FOR_EACH, AHEAD, LIVES = 50, 8, 2, 2
"""Chips of a block at most; blocks of each worker, for balance; how many of them may wait for an earlier one;
how many workers a block may cost."""


def chips_of(chips: int, *, first: int, until: str | None, score: Score) -> tuple[range, Until | None]:
    """The numbers of the chips that are asked for, and the rule that may stop before the last of them.

    Args:
        chips: how many.
        first: the first one's number; 0 beside a rule.
        until: the rule, in words, or None.
        score: what it watches.

    Returns:
        first … first + chips − 1, and the rule.
    """
    rule = None if until is None else Until.parse(until, chips=chips, score=score)
    if first and rule is not None:
        raise ConfigError(
            "evaluate.first",
            found=f"{first} beside until = {until!r}",
            expected="0: a rule of stopping takes the chips in order, from the first",
            remedy="workers = N spreads such an evaluation",
        )
    if first + chips > LAST:
        expected = f"the first of {chips} chips whose numbers are below 2⁶³"
        raise ConfigError("evaluate.first", found=shown(first), expected=expected)
    return range(first, first + chips), rule


def workers_for(workers: int, runner: Runner, data: Any) -> int:
    """As many workers as are asked for, or a refusal where this evaluation cannot be forked.

    Args:
        workers: how many.
        runner: of the model.
        data: the test data.

    Returns:
        workers.
    """
    if workers == 1:
        return workers
    device = runner.device.type
    if device != "cpu":
        raise _refused(workers, f"a model on {device}, which forks cannot share", "a model on the processor")
    if isinstance(data, Stream):
        raise _refused(workers, "a stream", "data in memory", "parts with first = N, and Draws.join")
    if sys.platform == "darwin" or "fork" not in multiprocessing.get_all_start_methods():
        raise _refused(workers, f"{sys.platform}, which cannot fork", "Linux", "a study's workers can")
    threads = torch.get_num_threads()
    if threads > 1:
        found, remedy = f"{threads} threads of PyTorch", "call torch.set_num_threads(1) first"
        raise _refused(workers, found, "one thread for each worker: their number orders the sums", remedy)
    return workers


def _refused(workers: int, found: str, expected: str, remedy: str | None = None) -> ConfigError:
    where = f"evaluate.workers = {workers}"
    return ConfigError(where, found=found, expected=expected, remedy=remedy or "leave out workers")


def blocks_of(chips: range, *, workers: int, at_once: int = 1) -> list[range]:
    """The chips in consecutive blocks, several for each worker, so that a slow one delays little.

    Where several chips are run in one call, a block is of whole calls.

    >>> blocks_of(range(10, 16), workers=1)[:2], len(blocks_of(range(1000), workers=2))
    ([range(10, 11), range(11, 12)], 20)
    >>> blocks_of(range(1000), workers=2, at_once=8)[0]
    range(0, 56)
    """
    size = -(-min(LARGEST, -(-len(chips) // (FOR_EACH * workers))) // at_once) * at_once
    return [chips[start : start + size] for start in range(0, len(chips), size)]


def spread(rows: Rows, chips: range, *, workers: int, at_once: int = 1) -> Generator[Row, None, None]:
    """The rows of chips in the order of their numbers, measured in blocks by so many forks.

    A worker that dies costs its block, which another one measures; a block that costs two workers ends the
    evaluation. A block that raises is measured again here, so that its error is one of this process.

    Args:
        rows: measures the chips of a range; it is the same in this process and in the forks.
        chips: their numbers.
        workers: how many forks at most.
        at_once: how many chips `rows` measures in one call.

    Yields:
        A row of scores by name for each chip.
    """
    blocks = blocks_of(chips, workers=workers, at_once=at_once)
    with _Crew(rows, blocks, min(workers, len(blocks))) as crew:
        for number, block in enumerate(blocks):
            yield from crew.landed(number) or rows(block)


class _Crew:
    """Forks at work, and which block each has."""

    def __init__(self, rows: Rows, blocks: list[range], workers: int) -> None:
        self._rows, self._blocks, self._count = rows, blocks, workers
        self._waiting = deque(range(len(blocks)))
        self._done: dict[int, list[Row] | None] = {}
        self._deaths: dict[int, int] = {}
        self._busy: dict[Connection, tuple[BaseProcess, int]] = {}
        self._idle: list[tuple[Connection, BaseProcess]] = []

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *exception: object) -> None:
        for pipe, (process, _) in self._busy.items():
            self._idle.append((pipe, process))
        for pipe, process in self._idle:
            pipe.close()
            process.kill()
        for _, process in self._idle:
            process.join()
            process.close()

    def landed(self, number: int) -> list[Row] | None:
        """The rows of a block once they are there; None where measuring it raised."""
        while number not in self._done:
            self._hand_out(number)
            ready = wait(list(self._busy))
            for pipe in [pipe for pipe in self._busy if pipe in ready]:
                self._take(pipe)
        return self._done.pop(number)

    def _hand_out(self, wanted: int) -> None:
        """Give each idle worker a block, but none far ahead of the one that is wanted."""
        while self._waiting and len(self._busy) < self._count:
            if self._waiting[0] >= wanted + AHEAD * self._count:
                return
            if not self._idle:
                self._idle.append(self._forked())
            pipe, process = self._idle.pop()
            number = self._waiting.popleft()
            self._busy[pipe] = process, number
            with contextlib.suppress(OSError):  # it has died already, which shows when it is waited for
                pipe.send_bytes(_text([number]))

    def _forked(self) -> tuple[Connection, BaseProcess]:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._rows, self._blocks))
        with warnings.catch_warnings():  # that threads of this process are not in the fork: it needs none
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        return ours, process

    def _take(self, pipe: Connection) -> None:
        """Take in what a worker measured, or that it died."""
        process, number = self._busy.pop(pipe)
        try:
            self._done[number] = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            pipe.close()
            process.join()
            self._deaths[number] = self._deaths.get(number, 0) + 1
            if self._deaths[number] == LIVES:
                raise self._lost(self._blocks[number], process.exitcode) from None
            self._waiting.appendleft(number)
        else:
            self._idle.append((pipe, process))

    def _lost(self, block: range, code: int | None) -> ConfigError:
        return ConfigError(
            f"evaluate.workers = {self._count}",
            found=f"that chips {block[0]} … {block[-1]} ended their worker {LIVES} times (exit code {code})",
            expected="memory for a chip and a batch in each worker",
            remedy="fewer workers, or a smaller batch_size",
        )


def _work(pipe: Connection, rows: Rows, blocks: list[range]) -> None:
    """What a fork does: measure the blocks whose numbers it is sent, until its parent is done or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the terminal's whole group; the parent acts
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        (number,) = json.loads(pipe.recv_bytes())
        try:
            measured = _text(list(rows(blocks[number])))
        except Exception:  # noqa: BLE001 - the parent measures it again, and raises it there
            measured = _text(None)
        pipe.send_bytes(measured)


def _text(value: Any) -> bytes:
    """JSON, whose numbers can be read back to the bit, NaN and infinities, too."""
    return json.dumps(value).encode()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
