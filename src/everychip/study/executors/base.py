"""What every executor is: a component, and the pool that it opens for one study."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from everychip.config.component import Component
from everychip.progress import Event
from everychip.study.blocks import Part
from everychip.study.experiment import Experiment

Tell = Callable[[str, Event], None]
"""Receives the id of a run and how far it is."""


class Pool(Protocol):
    """Workers that compute runs into folders which this process can read afterwards."""

    def submit(
        self, experiment: Experiment, folder: Path, trained: Path | None, part: Part = "run"
    ) -> Future[str]:
        """Compute a run, or a part of it, into its folder; the future is "" or one line why there is none.

        Args:
            experiment: what is computed.
            folder: of the run, in the file system of this process.
            trained: the folder of a complete run of the same training, whose weights are taken.
            part: what of the run: whatever it lacks, its training, or a block of its chips.

        Raises:
            BrokenExecutor: a worker died and the pool with it.
        """

    def drain(self) -> None:
        """Pass on what the workers said since the last time, and take in what they finished."""

    def finish(self) -> None:
        """Let the workers, which have nothing left to do, go home."""

    def stop(self) -> None:
        """End what is under way, now."""


class Executor(Component, family="executor"):
    """Where the runs of a study are computed: `everychip study RECIPE --on KIND`.

    Whatever executes a run, it is the same to the bit on processors of the same capability.

    block: the chips of a run that a worker measures at a time; absent, a run is divided only where there are
    no more of them left than workers, in eight blocks for each worker.
    """

    block: Annotated[int, Field(ge=1)] | None = None

    @abstractmethod
    def pool(self, workers: int, tell: Tell, folder: Path) -> Pool:
        """Workers for one study.

        Args:
            workers: at most so many runs at a time.
            tell: hears how far each run is, where the executor can say it.
            folder: of the study.
        """

    def opened(self, workers: int, tell: Tell, folder: Path) -> AbstractContextManager[Pool]:
        """The pool, finished at the end, or stopped at once when something happens."""
        return _opened(self.pool(workers, tell, folder))


@contextmanager
def _opened(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
        pool.finish()
    except BaseException:
        pool.stop()
        raise
