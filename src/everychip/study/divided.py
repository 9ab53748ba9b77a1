"""One run whose chips several workers measure; its training, and what is said of it, stay here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from everychip.progress import Listener, quiet
from everychip.study import store
from everychip.study.dispatch import Dispatch
from everychip.study.execution import run, train_run
from everychip.study.executors import Executor, Processes
from everychip.study.experiment import Experiment


def run_divided(
    experiment: Experiment,
    folder: Path,
    *,
    workers: int = 1,
    on: Executor | None = None,
    network: nn.Module | None = None,
    progress: Listener | None = None,
    **options: Any,
) -> store.Run:
    """Train a run here, measure blocks of its chips by workers, and complete it here, the same to the bit.

    Where there is nothing to divide (one worker, few chips, a rule of stopping), it is `run`; so is what
    workers could not measure.

    Args:
        experiment: the recipe.
        folder: of the run.
        workers: at most so many blocks at a time.
        on: where they are measured; absent, in processes of this machine.
        network: one that is evaluated as it is, in place of a training.
        progress: a function of `progress.Event`.
        options: of `run`.

    Returns:
        The complete run.
    """
    tell = progress or quiet
    if (workers > 1 or on is not None) and not store.is_complete(folder):
        train_run(experiment, folder, network=network, progress=progress)
        work = Dispatch(
            on=on or Processes(),
            workers=workers,
            place=lambda _: folder,
            over=lambda *_: None,
            begun=lambda _: None,
            tell=lambda _, event: tell(event),
            folder=folder / store.PARTIAL,
            trained={},
        )
        work.blocks_of(experiment)
    return run(experiment, folder, network=network, progress=progress, **options)
