"""Slurm: each run is a job, which writes into the study's folder on the cluster's shared file system."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from everychip.errors import ConfigError
from everychip.freed_memory import keep_freed_memory
from everychip.study import store
from everychip.study.blocks import Block, Part
from everychip.study.executors.base import Executor, Pool, Tell
from everychip.study.executors.work import execute, unheard
from everychip.study.experiment import Experiment


class Slurm(Executor):
    """Jobs of a Slurm cluster, submitted through submitit; the study's folder is on its shared file system.

    partition, account: as `sbatch` takes them. minutes: the limit of a job. memory_gb: of a job. retries: how
    often a job that vanished is submitted again; it goes on where it was. cluster: "local" runs jobs as
    processes of this machine, for a trial.

    Source: submitit's documentation; Yoo et al., JSSPP 2003, for Slurm.

    >>> Executor.parse({"kind": "slurm", "partition": "short"}).minutes
    240
    """

    partition: str | None = None
    account: str | None = None
    minutes: Annotated[int, Field(ge=1)] = 240
    memory_gb: Annotated[int, Field(ge=1)] | None = None
    retries: Annotated[int, Field(ge=0)] = 3
    cluster: Literal["slurm", "local"] = "slurm"

    def pool(self, workers: int, tell: Tell, folder: Path) -> Pool:
        return SlurmPool(self, folder)

    def settings(self, threads: int) -> dict[str, Any]:
        """The job's parameters for submitit."""
        known = {
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "mem_gb": self.memory_gb,
        }
        asked = known if self.cluster == "slurm" else {}
        return {
            "timeout_min": self.minutes,
            "cpus_per_task": threads,
            **{key: value for key, value in asked.items() if value is not None},
        }


class SlurmPool:
    """The jobs of one study. What a job did is read from its run folder, not from what it returned."""

    def __init__(self, asked: Slurm, folder: Path) -> None:
        self._asked, self._logs = asked, folder / "slurm"
        self._executor = self._made()
        self._jobs: list[_Job] = []

    def _made(self) -> Any:
        try:
            import submitit
        except ImportError:
            raise ConfigError(
                "executor slurm",
                found="no package submitit here",
                expected="submitit on the machine that submits",
                remedy='pip install "everychip[slurm]"',
            ) from None
        try:
            return submitit.AutoExecutor(folder=self._logs, cluster=self._asked.cluster)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                "executor slurm",
                found=" ".join(str(error).split())[:160],
                expected="a machine that can call sbatch",
                remedy='cluster = "local" runs the jobs here',
            ) from None

    def submit(
        self, experiment: Experiment, folder: Path, trained: Path | None, part: Part = "run"
    ) -> Future[str]:
        """Submit a run, or a part of it."""
        job = _Job(experiment, folder, trained, part)
        self._start(job)
        self._jobs.append(job)
        return job.future

    def _start(self, job: _Job) -> None:
        self._executor.update_parameters(**self._asked.settings(job.experiment.compute.threads))
        paths = (str(job.folder.absolute()), str(job.trained.absolute()) if job.trained else "")
        job.handle = self._executor.submit(in_job, job.experiment.table(), *paths, job.part)
        job.starts += 1

    def drain(self) -> None:
        """Read the folders of the jobs that are done; submit those again that vanished."""
        for job in [job for job in self._jobs if job.handle.done()]:
            words = job.words()
            if words is None and job.starts <= self._asked.retries:
                self._start(job)
                continue
            self._jobs.remove(job)
            lost = f"its job was lost {job.starts} times (see {self._logs.name}/{job.handle.job_id}_*)"
            job.future.set_result(lost if words is None else words)

    def finish(self) -> None:
        """Nothing is left to wait for."""

    def stop(self) -> None:
        """Cancel what is under way."""
        for job in self._jobs:
            job.handle.cancel()


class _Job:
    def __init__(self, experiment: Experiment, folder: Path, trained: Path | None, part: Part) -> None:
        self.experiment, self.folder, self.trained, self.part = experiment, folder, trained, part
        self.future: Future[str] = Future()
        self.handle: Any = None
        self.starts = 0

    def words(self) -> str | None:
        """ "" of what is done, one line why it is not, or None where the job ended without a word."""
        said = words_of(self.folder, self.part)
        if store.is_complete(self.folder):
            return ""
        return said.read_text(encoding="utf-8") if said.exists() else None


def words_of(folder: Path, part: Part) -> Path:
    """Where a job writes its one line, which is empty where all is well."""
    name = part.name if isinstance(part, Block) else part
    return folder / store.PARTIAL / f"words-{name}.txt"


def in_job(table: dict[str, Any], folder: str, trained: str, part: Part = "run") -> None:
    """What a job does: the run, or a part of it, and its one line into the run's folder."""
    from everychip.storage.files import write_text

    keep_freed_memory()
    said = words_of(Path(folder), part)
    said.unlink(missing_ok=True)
    words = execute(table, folder, trained, part, tell=unheard)
    if words or not store.is_complete(Path(folder)):
        said.parent.mkdir(parents=True, exist_ok=True)
        write_text(said, words)
