"""Recipes executed from Python: one into a run folder, a study into a folder of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from everychip.config.arguments import a, takes, whole
from everychip.progress import Event, Listener, Progress, listening
from everychip.study import study as studies
from everychip.study.divided import run_divided
from everychip.study.executors import Executor
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.store import MODEL, Run
from everychip.study.trained import asked_of, refuse_diverged, trained_model


@takes(
    experiment=a(Experiment, "an Experiment", remedy='Experiment.read(table, where="recipe") makes one'),
    folder=a((str, Path), "a folder"),
    workers=whole(least=1),
)
def run_experiment(
    experiment: Experiment,
    folder: str | Path,
    *,
    workers: int = 1,
    on: Executor | Mapping[str, Any] | str | None = None,
    progress: Progress = None,
) -> Run:
    """Train and evaluate an experiment into a folder, as `everychip run` does, or go on where it stopped.

    A complete run is only opened, its files compared with their SHA-256.

    Args:
        experiment: one recipe.
        folder: of this run alone; another run's is refused.
        workers: that measure blocks of its chips side by side, once it is trained.
        on: where they do, as for `run_study`.
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.

    Returns:
        The run: `status`, `record`, `draws()` as columns, `folder` for `everychip report`.

    >>> import tempfile, everychip as ec
    >>> quick = ["training.epochs=1", "evaluation.chips=2", "evaluation.sigma=[]", "model=mlp"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = run_experiment(ec.Experiment.from_toml("digits", quick), folder)
    ...     len(done.draws()["accuracy"])
    2
    """
    with listening(progress) as tell:
        chosen = None if on is None else Executor.parse(on)
        return run_divided(experiment, Path(folder), workers=workers, on=chosen, progress=tell)


@takes(
    study=a(Study, "a Study", remedy='Study.read(table, where="recipe") makes one'),
    folder=a((str, Path), "a folder"),
    workers=whole(least=1),
)
def run_study(
    study: Study,
    folder: str | Path,
    *,
    workers: int = 1,
    on: Executor | Mapping[str, Any] | str | None = None,
    progress: Progress = None,
) -> studies.Outcome:
    """Execute the runs of a study that its folder lacks, as `everychip study` does.

    Args:
        study: a base and its axes.
        folder: of this study alone; runs lie in `runs/<id>`, all draws in `draws.parquet`.
        workers: how many runs at a time, each in a process of its own where there are several.
        on: where they are computed, as a component, its table or its kind: "processes", "ray", "slurm".
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.

    Returns:
        How many runs were executed, and which failed and why.
    """
    with listening(progress) as tell:
        chosen = Executor.parse("processes" if on is None else on)
        return studies.run_study(study, Path(folder), workers=workers, on=chosen, watcher=_Telling(tell))


def network_of_run(folder: str | Path) -> nn.Module:
    """The trained network of a complete run, to be used like any other.

    Every file of the run is compared with its SHA-256, and the files of its data and of a model's code with
    what they were.

    Args:
        folder: of the run.

    Returns:
        The network in evaluation mode, where the recipe computes.

    Raises:
        StoreError: where the run is unfinished, changed, or its weights are not finite.

    >>> import tempfile, everychip as ec
    >>> quick = ["training.epochs=1", "evaluation.chips=2", "evaluation.sigma=[]", "model=mlp"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(ec.Experiment.from_toml("digits", quick), folder)
    ...     network_of_run(folder).training
    False
    """
    place = Path(folder)
    network = trained_model(asked_of(place, []), place / MODEL)
    refuse_diverged(network, place)
    return network.eval()


class _Telling(studies.Watcher):
    """Tells how many of a study's runs are done."""

    def __init__(self, tell: Listener) -> None:
        self.tell, self.done, self.total = tell, 0, 0

    def begin(self, waiting: int, complete: int) -> None:
        """So many runs are to be executed."""
        self.total = waiting

    def finished(self, experiment: Experiment, run: Run | None, words: str) -> None:
        """One more is done."""
        self.done += 1
        self.tell(Event("runs", self.done, self.total))
