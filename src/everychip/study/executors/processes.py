"""In this process, or in worker processes, which die with it and leave nothing half-written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from pathlib import Path
from queue import Empty
from typing import Any

from everychip.freed_memory import keep_freed_memory
from everychip.study.blocks import Part
from everychip.study.executors.base import Executor, Pool, Tell
from everychip.study.executors.work import execute
from everychip.study.experiment import Experiment
from everychip.tasks.counting import load_counting


class Processes(Executor):
    """Worker processes on this machine; one worker is this process itself.

    apart: in a process of its own, even if there is one worker only, which then may die alone.

    >>> Executor.parse("processes")
    Processes(block=None, apart=False)
    """

    apart: bool = False

    def pool(self, workers: int, tell: Tell, folder: Path) -> Pool:
        return SerialPool(tell) if workers == 1 and not self.apart else ProcessPool(workers, tell)


class SerialPool:
    """Computes in this process, on request."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def submit(
        self, experiment: Experiment, folder: Path, trained: Path | None, part: Part = "run"
    ) -> Future[str]:
        """Compute it now."""
        future: Future[str] = Future()
        future.set_result(execute(experiment.table(), str(folder), str(trained or ""), part, tell=self._tell))
        return future

    def drain(self) -> None:
        """Nothing waits: what there was to tell was told at once."""

    def finish(self) -> None:
        """Nothing runs that could be waited for."""

    def stop(self) -> None:
        """Nothing runs that could be stopped."""


class ProcessPool:
    """Computes in worker processes."""

    def __init__(self, count: int, tell: Tell) -> None:
        self._tell = tell
        context = multiprocessing.get_context("spawn")
        self._messages = context.Queue()
        self._pool = ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(self._messages,))
        self._before = set(multiprocessing.active_children())

    def submit(
        self, experiment: Experiment, folder: Path, trained: Path | None, part: Part = "run"
    ) -> Future[str]:
        """Compute it in a worker; BrokenExecutor where one has died."""
        arguments = (experiment.table(), str(folder), str(trained or ""), part)
        # Ctrl-C reaches the whole terminal group; workers inherit that they do not hear it, we stop them.
        with _interrupts_unheard():
            return self._pool.submit(_call, execute, arguments)

    def drain(self) -> None:
        """Pass on what the workers said since the last time."""
        while True:
            try:
                self._tell(*self._messages.get_nowait())
            except Empty:
                return

    def finish(self) -> None:
        """Let the workers, which have nothing left to do, go home."""
        self._pool.shutdown(wait=True)
        self.drain()

    def stop(self) -> None:
        """End the workers now: by request, after some seconds by force."""
        workers = [child for child in multiprocessing.active_children() if child not in self._before]
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        patience = time.monotonic() + 5
        for worker in workers:
            worker.join(max(0.0, patience - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()
        self._messages.close()
        self._messages.cancel_join_thread()


@contextmanager
def _interrupts_unheard() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_LAST = -(10**6)  # among what multiprocessing does at a worker's end
_queue: Any = None  # of this worker, set once by _prepare
_busy = threading.Event()


def _prepare(messages: Any) -> None:
    global _queue  # noqa: PLW0603 - a pool hands an initializer nothing it could return to
    _queue = messages
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    Finalize(None, _leave, exitpriority=_LAST)
    with suppress(ImportError):  # the first score says so, where a run can be told of it
        load_counting()  # now, while another worker trains what this one will measure


def _leave() -> None:
    """End once all that multiprocessing had to finish is finished: to take PyTorch apart takes a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end(*_: Any) -> None:
    if _busy.is_set():
        _busy.clear()
        sys.exit(143)  # through every `finally`, so that no draft stays
    os._exit(143)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    _busy.set()
    try:
        return fn(*args, tell=lambda run_id, event: _queue.put((run_id, event)))
    finally:
        _busy.clear()
