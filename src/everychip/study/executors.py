"""Where runs are executed: in this process, or in worker processes, both behind `concurrent.futures`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from everychip.errors import EverychipError
from everychip.progress import Event
from everychip.storage.files import write_text
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.store import PARTIAL

Tell = Callable[[str, Event], None]
"""Receives the id of a run and how far it is."""
FAILURE = "failure.txt"
_TELL_EVERY = 0.2  # seconds


def execute(table: dict[str, Any], folder: str, trained: str = "", *, tell: Tell) -> str:
    """Run one recipe, its weights from the folder `trained` if named; "", or one line why there is no run."""
    experiment = Experiment.read(table, where="recipe")
    last = 0.0

    def progress(event: Event) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY or event.done >= event.total:
            last = time.monotonic()
            tell(experiment.id, event)

    try:
        run(experiment, Path(folder), trained=Path(trained) if trained else None, progress=progress)
    except EverychipError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a study goes on without the runs that fail
        return _keep_traceback(error, Path(folder) / PARTIAL)
    return ""


def _keep_traceback(error: Exception, folder: Path) -> str:
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FAILURE, traceback.format_exc())
    except OSError:
        return words
    return f"{words} (see {folder.parent.name}/{PARTIAL}/{FAILURE})"


class Serial(Executor):
    """Executes in this process, while being asked to."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs, tell=self._tell))
        return future

    def drain(self) -> None:
        """Nothing waits: what there was to tell was told at once."""

    def finish(self) -> None:
        """Nothing runs that could be waited for."""

    def stop(self) -> None:
        """Nothing runs that could be stopped."""


class Processes:
    """Executes in worker processes, which die with this one and leave nothing half-written."""

    def __init__(self, count: int, tell: Tell) -> None:
        self._tell = tell
        context = multiprocessing.get_context("spawn")
        self._messages = context.Queue()
        self._pool = ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(self._messages,))
        self._before = set(multiprocessing.active_children())

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Execute `fn(*args, tell=...)` in a worker."""
        # Ctrl-C reaches the whole terminal group; workers inherit that they do not hear it, we stop them.
        with _interrupts_unheard():
            return self._pool.submit(_call, fn, args)

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
def executor(
    workers: int, tell: Tell, *, tasks: int = 1, apart: bool = False
) -> Iterator[Serial | Processes]:
    """An executor of so many workers, no more than tasks, stopped at once when something happens.

    apart: in a process of its own, even if there is one worker only.

    >>> with executor(1, lambda run, event: None) as one:
    ...     type(one).__name__
    'Serial'
    """
    serial = workers == 1 and not apart
    chosen = Serial(tell) if serial else Processes(max(1, min(workers, tasks)), tell)
    try:
        yield chosen
        chosen.finish()
    except BaseException:
        chosen.stop()
        raise


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


_queue: Any = None  # of this worker, set once by _prepare
_busy = threading.Event()


def _prepare(messages: Any) -> None:
    global _queue  # noqa: PLW0603 - a pool hands an initializer nothing it could return to
    _queue = messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_die_with_parent, daemon=True).start()


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
