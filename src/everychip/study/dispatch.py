"""Handing work out: run after run, the last ones in blocks, and again what a dead worker had."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from everychip.progress import Event
from everychip.study.blocks import Part, plan
from everychip.study.executors import Executor, Pool, Processes
from everychip.study.experiment import Experiment
from everychip.study.unfinished import blocks_in, is_trained

Tell = Callable[[str, Event], None]
Following = Callable[[], "Job | None"]


@dataclass(frozen=True)
class Job:
    """What one worker does at a time: a run, or a part of one."""

    experiment: Experiment
    part: Part = "run"


@dataclass
class Dispatch:
    """Runs that are to be executed, by so many workers.

    A run is one job. Where there are no more runs left than workers, or the executor's `block` says so, it is
    several: its training; then blocks of its chips, side by side; then the rest, which finds them.

    Args:
        on: where runs are computed.
        workers: at most so many jobs at a time.
        place: the folder of a run.
        over: takes a run that is over, and "" or one line why there is none.
        begun: hears of a run whose first job was handed out.
        tell: hears how far a run is.
        folder: of all of them, for what the executor keeps.
        trained: folders of complete runs by the id of their training, whose weights others take; `over` adds.
    """

    on: Executor
    workers: int
    place: Callable[[Experiment], Path]
    over: Callable[[Experiment, str], None]
    begun: Callable[[Experiment], None]
    tell: Tell
    folder: Path
    trained: dict[str, Path]
    _rest: bool = True
    _waiting: deque[Experiment] = field(default_factory=deque)
    _parts: deque[Job] = field(default_factory=deque)
    _suspects: deque[Job] = field(default_factory=deque)
    _open: dict[str, Experiment] = field(default_factory=dict)
    _blocks: Counter[str] = field(default_factory=Counter)

    def execute(self, experiments: Iterable[Experiment]) -> None:
        """All of them, each over at the end."""
        self._waiting.extend(experiments)
        while self._waiting or self._parts or self._suspects:  # again only after a worker died
            self._retry_alone()
            if self._waiting or self._parts:
                with self.on.opened(self.workers, self.tell, self.folder) as pool:
                    self._work(pool, self._next, self.workers)

    def blocks_of(self, experiment: Experiment) -> None:
        """Only the blocks of one run, which is trained; the rest is left to the caller."""
        self._rest = False
        self._open[experiment.id] = experiment
        self._go_on(Job(experiment, "training"))
        self.execute([])

    def _retry_alone(self) -> None:
        """Do what was under way when a worker died, each in a process by itself: who dies again is it."""
        while self._suspects:
            alone = partial(next, iter([self._suspects.popleft()]), None)
            with Processes(apart=True).opened(1, self.tell, self.folder) as pool:
                self._work(pool, alone, 1, alone=True)

    def _work(self, pool: Pool, following: Following, workers: int, *, alone: bool = False) -> None:
        flying: dict[Future[str], Job] = {}
        broken = False
        while True:
            while len(flying) < workers and not broken and (job := following()) is not None:
                try:
                    flying[self._submitted(pool, job)] = job
                except BrokenExecutor:
                    self._parts.appendleft(job)
                    broken = True
            if not flying:
                return
            landed, _ = wait(flying, timeout=0.25, return_when=FIRST_COMPLETED)
            pool.drain()
            for future in landed:
                broken |= self._land(future, flying.pop(future), alone=alone)

    def _submitted(self, pool: Pool, job: Job) -> Future[str]:
        trained = self.trained.get(job.experiment.training_id)
        return pool.submit(job.experiment, self.place(job.experiment), trained, job.part)

    def _next(self) -> Job | None:
        """A part of a run that is begun, or the first run that has nothing to wait for.

        None waits for a training but those that share it.
        """
        if self._parts:
            return self._parts.popleft()
        under_way = {one.training_id for one in self._open.values()} - self.trained.keys()
        for place, experiment in enumerate(self._waiting):
            if experiment.training_id not in under_way:
                del self._waiting[place]
                self._open[experiment.id] = experiment
                self.begun(experiment)
                return self._first_part(experiment) if self._divided(experiment) else Job(experiment)
        return None

    def _first_part(self, experiment: Experiment) -> Job:
        """The training of a run that is divided, or where that is done, the first of its blocks."""
        training = Job(experiment, "training")
        if not is_trained(self.place(experiment), experiment):
            return training
        self._go_on(training)
        return self._parts.popleft()

    def _divided(self, experiment: Experiment) -> bool:
        """Whether several workers are to have a part in a run."""
        spare = self.workers > 1 and len(self._waiting) + len(self._open) <= self.workers
        return (self.on.block is not None or spare) and bool(self._plan(experiment))

    def _plan(self, experiment: Experiment) -> list[Job]:
        known = blocks_in(self.place(experiment))
        blocks = plan(experiment, known, workers=self.workers, size=self.on.block)
        return [Job(experiment, block) for block in blocks]

    def _land(self, future: Future[str], job: Job, *, alone: bool) -> bool:
        """Take in what a worker returned; whether it died instead."""
        try:
            words = future.result()
        except BrokenExecutor:
            if alone:
                self._end(job.experiment, "its worker process died twice (out of memory?)")
            else:
                self._suspects.append(job)
            return True
        if job.experiment.id not in self._open:  # another block of it has failed
            return False
        if words or job.part == "run":
            self._end(job.experiment, words)
        else:
            self._go_on(job)
        return False

    def _go_on(self, job: Job) -> None:
        """After a training come the blocks, after the last block the rest."""
        experiment = job.experiment
        if job.part == "training":
            blocks = self._plan(experiment)
            self._blocks[experiment.id] = len(blocks)
            self._parts.extend(blocks)
        else:
            self._blocks[experiment.id] -= 1
            chips = experiment.evaluation.chips * len(experiment.conditions())
            done = sum(block.chips for known in blocks_in(self.place(experiment)).values() for block in known)
            self.tell(experiment.id, Event("chips", done, chips))
        if self._blocks[experiment.id] > 0:
            return
        if self._rest:
            self._parts.append(Job(experiment, "run"))
        else:
            self._end(experiment, "")

    def _end(self, experiment: Experiment, words: str) -> None:
        """A run is over: what of it still waits is dropped."""
        self._parts = deque(job for job in self._parts if job.experiment.id != experiment.id)
        self._suspects = deque(job for job in self._suspects if job.experiment.id != experiment.id)
        if self._open.pop(experiment.id, None) is not None:
            self.over(experiment, words)
