"""One experiment, executed once, into its folder: a complete run is never repeated, a broken one goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from everychip.data import Examples, Splits
from everychip.data.inputs import moved, taken
from everychip.errors import EverychipError, ModelError
from everychip.evaluation.draws import Draws
from everychip.hardware.coverage import check
from everychip.hardware.placement import Placed
from everychip.progress import Event, Listener, quiet
from everychip.scores import ACCURACY
from everychip.statistics.outcome import bar_above_chance
from everychip.storage.files import locked, make_folder, write_proven
from everychip.storage.table import COLUMNS, merge_tables, write_table
from everychip.study import store
from everychip.study.answered import answered
from everychip.study.blocks import Block
from everychip.study.chips import TrainedChips
from everychip.study.environment import environment
from everychip.study.experiment import Condition, Experiment
from everychip.study.inputs import refuse_others
from everychip.study.measured import measure_digital
from everychip.study.sharing import take_over
from everychip.study.start import beside
from everychip.study.suitable import validate_for
from everychip.study.trained import build, untrained_model
from everychip.study.unfinished import OF_STATE, WEIGHTS, Unfinished, holds_work
from everychip.tasks import Classification, Task
from everychip.training.loop import Fitted, train

AS_IT_IS: Mapping[str, Any] = {
    "status": "above_chance",
    "words": "not trained here",
    "best_epoch": None,
    "validation_accuracy": None,
    "forwards": 0,
    "history": [],
}
"""What the record says of the training of a network that was evaluated as it is."""


def run(
    experiment: Experiment,
    folder: Path,
    *,
    trained: Path | None = None,
    network: nn.Module | None = None,
    trained_at: float | None = None,
    command: str = "",
    progress: Listener | None = None,
) -> store.Run:
    """Train and evaluate an experiment into `folder`, or go on where an interrupted one stopped.

    A complete run is only opened: its files are compared with their SHA-256, and the files of its data and
    the code of a user's model with what they were. So is what an unfinished run left, and what differs is
    made again. trained: the folder of a complete run of the same training, whose weights are taken instead of
    being trained again. network: one that is evaluated as it is, in place of a training; trained_at: the
    nominal σ that it was trained at, where that is known. command: what was typed, for the record.
    """
    with _begun(experiment, folder, trains=network is None) as (unfinished, recipe):
        if unfinished is not None:
            work = _Execution(
                experiment, folder, unfinished, progress or quiet, trained, network, trained_at, command
            )
            work.proofs[store.RECIPE] = recipe
            return work.execute()
    return opened(experiment, folder)


def train_run(
    experiment: Experiment,
    folder: Path,
    *,
    trained: Path | None = None,
    network: nn.Module | None = None,
    progress: Listener | None = None,
) -> None:
    """The first part of a run: store its trained network; blocks of its chips can then be measured.

    What else there is to do, `run` does. The arguments are those of `run`.
    """
    with _begun(experiment, folder, trains=network is None) as (unfinished, _):
        if unfinished is not None:
            _Execution(experiment, folder, unfinished, progress or quiet, trained, network).trained_state()


def measure_block(experiment: Experiment, folder: Path, block: Block) -> None:
    """A block of the chips of a trained run into its folder, beside other processes that measure others.

    What is there already, or what one chip stands for, is not measured.

    Args:
        experiment: the recipe.
        folder: of the run, whose training is done.
        block: which chips.
    """
    if store.is_complete(folder):
        return
    with locked(folder, shared=True), experiment.compute.used():
        unfinished = Unfinished.joined(folder, experiment)
        if unfinished.has_block(block):
            return
        splits = experiment.data.load()
        state = unfinished.must_be_trained()
        chips = TrainedChips.opened(experiment, build(experiment, splits), splits, folder, state)
        if chips.conditions and not chips.alike(block.condition):
            unfinished.keep_block(block, chips.block(block))


@contextmanager
def _begun(experiment: Experiment, folder: Path, *, trains: bool) -> Iterator[tuple[Unfinished | None, str]]:
    """Hold the folder of a run and go on with what there is of it, and the SHA-256 of its recipe.

    Nothing of a complete one.
    """
    if store.is_complete(folder):
        yield None, ""
        return
    experiment.compute.must_be_here()
    fresh = not folder.exists()
    make_folder(folder)
    with locked(folder), experiment.compute.used(), _left_as_found(folder, fresh, trains):
        recipe = store.claim(folder, beside(experiment.table(), folder))
        yield (None if store.is_complete(folder) else Unfinished.begin(folder, experiment)), recipe


@contextmanager
def _left_as_found(folder: Path, fresh: bool, trains: bool) -> Iterator[None]:
    """A mistake that is refused before anything is computed leaves no folder that was not there."""
    try:
        yield
    except EverychipError:
        if fresh and not holds_work(folder, trains=trains):
            store.drop_unbegun(folder)
        raise


def opened(experiment: Experiment, folder: Path) -> store.Run:
    """The complete run of an experiment, if its files, data and code are those that it was made with."""
    store.claim(folder, experiment.table())
    run = store.open_run(folder)
    refuse_others(folder, run.record, experiment)
    if (folder / store.PARTIAL).exists():  # its process was killed between the last two steps
        store.drop_partial(folder)
    return run


@dataclass
class _Execution:
    experiment: Experiment
    folder: Path
    unfinished: Unfinished
    tell: Listener
    trained: Path | None = None
    network: nn.Module | None = None
    trained_at: float | None = None
    command: str = ""
    proofs: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of the run's files as they were written, by name."""

    def execute(self) -> store.Run:
        model, splits, state = self.trained_state()
        # What is stored is what is evaluated: the same bits, whether or not the run was interrupted here.
        chips = TrainedChips.opened(self.experiment, model, splits, self.folder, state)
        self.proofs[store.MODEL] = state[WEIGHTS]
        seconds = self._evaluate(chips, dict(state["seconds"]))
        record = {key: value for key, value in state.items() if key not in OF_STATE}
        said = self.unfinished.treatments(len(self.experiment.conditions()))
        digital = self._digital(model, splits)
        return store.finish(
            self.folder,
            {
                "id": self.experiment.id,
                "training_id": self.experiment.training_id,
                "name": self.experiment.name,
                "title": self.experiment.title,
                "labels": self.experiment.labels,
                **({"command": self.command} if self.command else {}),
                "environment": environment(self.experiment.compute),
                **self.unfinished.facts(),
                "seconds": sum(seconds.values()),
                "seconds_by_stage": seconds,
                "seed": self.experiment.seed,
                "classes": splits.classes,
                "digital": digital,
                **self._trained_time(),
                **({} if self.experiment.task == Classification() else {"score": self._score()}),
                "coverage": self._coverage(model, splits),
                **self.unfinished.treatment(len(self.experiment.conditions())),
                **answered(self.experiment, model, splits, said),
                **record,
                **self._status(digital, splits),
            },
            self.proofs,
        )

    def trained_state(self) -> tuple[nn.Module, Splits, dict[str, Any]]:
        """A fresh model, the data, and what is known of the training, which is done by now."""
        splits = self.experiment.data.load()
        model = build(self.experiment, splits)
        validate_for(self.experiment, model, splits)
        return model, splits, self.unfinished.state() or self._take_over() or self._fit(splits)

    def _status(self, digital: float | None, splits: Splits) -> dict[str, Any]:
        """How a network that was not trained here stands without any hardware."""
        if self.network is None or digital is None or self.experiment.task != Classification():
            return {}
        above = digital > bar_above_chance(splits.classes)
        return {"status": "above_chance" if above else "at_chance"}

    def _trained_time(self) -> dict[str, Any]:
        """The time since programming at which a device that ages was in training."""
        time = self.experiment.hardware.device.age
        noisy = self.network is None and self.experiment.method.noisy
        return {"trained_time": time} if noisy and time is not None else {}

    def _score(self) -> dict[str, Any]:
        """How the score that is judged is read, for those who read the run."""
        return self.experiment.task.headline.facts()

    def _take_over(self) -> dict[str, Any] | None:
        """The training of another run, if there is one to take."""
        asked, now = self.experiment.training_id, self.unfinished.inputs
        known = self.trained and take_over(asked, self.trained, self.folder, inputs=now)
        return self.unfinished.keep(known, seconds={}, weights=known[WEIGHTS]) if known else None

    def _digital(self, model: nn.Module, splits: Splits) -> float | None:
        """The score on the test set without any hardware, beside which every verdict stands."""
        if not _finite(model) or self.experiment.task.relative:
            return None
        return measure_digital(self.experiment, model, splits)

    def _fit(self, splits: Splits) -> dict[str, Any]:
        if self.network is not None:
            weights = _save(self.network, self.folder / store.MODEL)
            return self.unfinished.keep(AS_IT_IS, seconds={}, weights=weights)
        started = time.monotonic()
        fitted = train(
            untrained_model(self.experiment, splits),
            self.experiment.method,
            self._examples(splits),
            hardware=self.experiment.hardware,
            training=self.experiment.training,
            seed=self.experiment.seed,
            task=self.experiment.task,
            checkpoint=self.unfinished.checkpoint(),
            progress=self.tell,
        )
        weights = _save(fitted.model, self.folder / store.MODEL)
        described = _described(fitted, self.experiment.task)
        seconds = {"training": time.monotonic() - started}
        return self.unfinished.keep(described, seconds=seconds, weights=weights)

    def _examples(self, splits: Splits) -> Examples:
        return self.experiment.task.examples(splits, split="train")

    def _coverage(self, model: nn.Module, splits: Splits) -> dict[str, Any]:
        """What of the model the crossbar holds; MACs are left out where its forward cannot be traced."""
        sample = moved(taken(splits.train.x, slice(2)), torch.device(self.experiment.compute.place))
        try:
            return check(model, self.experiment.hardware, sample).facts()
        except ModelError:
            return check(model, self.experiment.hardware).facts()

    def _evaluate(self, chips: TrainedChips, seconds: dict[str, float]) -> dict[str, float]:
        """One parquet file for each condition, those of an interrupted evaluation kept; then all as one."""
        parts = []
        for index, condition in enumerate(chips.conditions):
            parts.append(self.unfinished.draws(index))
            if self.unfinished.has_draws(index):
                continue
            started = time.monotonic()
            known = self.unfinished.blocks(index)
            draws = chips.draws(index, known=known, progress=self._heard(chips.conditions, index))
            proof = write_table(parts[-1], self._columns(chips.placed(index), condition, draws))
            self.unfinished.keep_draws(index, draws.said, proof)
            seconds["evaluation"] = seconds.get("evaluation", 0.0) + time.monotonic() - started
        self.proofs[store.DRAWS] = self._merged(parts)
        return seconds

    def _merged(self, parts: Sequence[Path]) -> str:
        """All draws as one file, whose SHA-256 is returned; the parts must still be as they were proven."""
        if not parts:
            return write_table(self.folder / store.DRAWS, {name: [] for name in COLUMNS})
        proof = merge_tables(self.folder / store.DRAWS, parts)
        self.unfinished.must_still_have_draws(len(parts))
        return proof

    def _heard(self, conditions: Sequence[Condition], index: int) -> Listener:
        """Takes how far the chips of one condition are, and tells how far all are."""
        chips = self.experiment.evaluation.chips
        known = {name: value for name, value in conditions[index].axes.items() if value is not None}

        def tell(event: Event) -> None:
            done = index * chips + chips * event.done // event.total
            self.tell(Event("chips", done, len(conditions) * chips, {**known, **event.values}))

        return tell

    def _columns(self, placed: Placed, condition: Condition, draws: Draws) -> dict[str, list[Any]]:
        effective = placed.effective_sigma()
        facts = {
            **self.experiment.described(),
            **condition.axes,
            **({} if self.network is None else {"sigma_train": self.trained_at}),
            "sigma_of_max": effective.of_max,
            "sigma_of_rms": effective.of_rms,
        }
        asked = self.experiment.evaluation
        return _rows(draws, facts, chips=asked.chips if draws.until is None else len(draws))


def _described(fitted: Fitted, task: Task) -> dict[str, Any]:
    best = next((row for row in fitted.history if row["epoch"] == fitted.best_epoch), {})
    return {
        "status": fitted.status,
        "words": fitted.words,
        "best_epoch": fitted.best_epoch,
        "validation_accuracy": best.get(task.headline.name),
        "forwards": fitted.forwards,
        "history": fitted.history,
        **({"learned": fitted.learned.table()} if fitted.learned is not None else {}),
    }


def _rows(draws: Draws, facts: Mapping[str, Any], *, chips: int) -> dict[str, list[Any]]:
    measured: dict[str, list[Any]] = {**draws.columns()}
    if len(draws) < chips:
        measured = {name: values * chips for name, values in measured.items()} | {"chip": list(range(chips))}
    columns = {**measured, **{name: [value] * chips for name, value in facts.items()}}
    if draws.score != ACCURACY:
        columns["score"] = columns[draws.score.name]
    nothing = [None] * chips
    return {name: columns.get(name, nothing) for name in dict.fromkeys((*COLUMNS, *columns))}


def _finite(model: nn.Module) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


def _save(model: nn.Module, path: Path) -> str:
    from safetensors.torch import save_model

    return write_proven(path, lambda draft: save_model(model, str(draft)))
