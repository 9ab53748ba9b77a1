"""A Ray cluster: each run is a task, its files come back as bytes, and a lost task is made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from everychip.errors import ConfigError
from everychip.study import store
from everychip.study.blocks import Block, Part
from everychip.study.executors.base import Executor, Pool, Tell
from everychip.study.executors.work import FILES, executed_apart, files_begun, put
from everychip.study.experiment import Experiment


class Ray(Executor):
    """Tasks of a Ray cluster; workers need the wheel and the data, and share no folder with this process.

    address: of the cluster, "auto" for one that runs here; absent, that of RAY_ADDRESS, or else a cluster of
    this machine alone. cpus: of a task; absent, the threads of its run. retries: how often a task is made
    again whose worker or node died; a run has the same bits however often it is.

    Source: Moritz et al., OSDI 2018, arXiv 1712.05889.

    >>> Executor.parse({"kind": "ray", "address": "auto"}).address
    'auto'
    """

    address: str | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    retries: Annotated[int, Field(ge=0)] = 3

    def pool(self, workers: int, tell: Tell, folder: Path) -> Pool:
        return RayPool(self)


def _ray() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "executor ray",
            found="no package ray here",
            expected="Ray on this machine and on the workers",
            remedy='pip install "everychip[ray]"',
        ) from None
    return ray


class RayPool:
    """The tasks of one study, and the folders that their files belong into."""

    def __init__(self, asked: Ray) -> None:
        self._ray, self._asked = _ray(), asked
        self._ours = not self._ray.is_initialized()
        self._waiting: dict[Any, tuple[Future[str], Path]] = {}
        self._trained: dict[Path, Any] = {}
        self._networks: dict[Path, Any] = {}
        if self._ours:
            self._connect()

    def _connect(self) -> None:
        address = self._asked.address or os.environ.get("RAY_ADDRESS")
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                "executor ray",
                found=f"no cluster at {address}: {' '.join(str(error).split())[:120]}",
                expected="the address of a Ray cluster that runs",
                remedy="start one with `ray start --head`, or leave the address out",
            ) from None

    def submit(
        self, experiment: Experiment, folder: Path, trained: Path | None, part: Part = "run"
    ) -> Future[str]:
        """Hand a run, or a part of it, to the cluster."""
        task = self._ray.remote(executed_apart).options(
            num_cpus=self._asked.cpus or experiment.compute.threads, max_retries=self._asked.retries
        )
        future: Future[str] = Future()
        reference = task.remote(experiment.table(), self._weights(trained), part, self._begun(folder, part))
        self._waiting[reference] = (future, folder)
        return future

    def _weights(self, trained: Path | None) -> Any:
        """The files of a complete run, sent to the cluster once."""
        if trained is None:
            return None
        if trained not in self._trained:
            files = {name: (trained / name).read_bytes() for name in FILES}
            self._trained[trained] = self._ray.put(files)
        return self._trained[trained]

    def _begun(self, folder: Path, part: Part) -> Any:
        """The files of an unfinished run: for all of its blocks the same ones, sent once."""
        if not isinstance(part, Block):
            self._networks.pop(folder, None)
            return files_begun(folder, part) or None
        if folder not in self._networks:
            self._networks[folder] = self._ray.put(files_begun(folder, part))
        return self._networks[folder]

    def drain(self) -> None:
        """Write the files of the tasks that are done."""
        if not self._waiting:
            return
        done, _ = self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=0)
        for reference in done:
            future, folder = self._waiting.pop(reference)
            _settle(future, lambda: self._landed(reference, folder))  # noqa: B023 - called at once

    def _landed(self, reference: Any, folder: Path) -> str:
        try:
            words, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            kind = type(error).__name__
            return f"its worker was lost {self._asked.retries + 1} times ({kind}; out of memory?)"
        if not store.is_complete(folder):
            put(files, folder)
        return str(words)

    def finish(self) -> None:
        """Leave the cluster, if this study joined it."""
        if self._ours:
            self._ray.shutdown()

    def stop(self) -> None:
        """Cancel what is under way, then leave."""
        for reference in self._waiting:
            self._ray.cancel(reference, force=True)
        self.finish()


def _settle(future: Future[str], outcome: Callable[[], str]) -> None:
    try:
        future.set_result(outcome())
    except Exception as error:  # noqa: BLE001 - whoever waits for the future hears it
        future.set_exception(error)
