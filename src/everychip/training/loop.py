"""The training loop: any method, any model; resumable to the bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from everychip.config.toml import content_hash
from everychip.data import Examples, split_holdout
from everychip.data.inputs import Inputs, leaves, moved, taken
from everychip.errors import ConfigError, ModelError, StoreError
from everychip.evaluation.measuring import measure
from everychip.evaluation.monte_carlo import evaluate
from everychip.hardware.hardware import Hardware
from everychip.methods import Method, Objective
from everychip.methods.exit_accuracy import exit_accuracies
from everychip.network.exclusive import exclusive
from everychip.network.identity import identity_of
from everychip.network.memory_format import kernels_in
from everychip.network.probing import probe
from everychip.network.recomputing import recomputing
from everychip.network.running import Runner, autocast
from everychip.network.soundness import device_of, is_finite
from everychip.progress import Event, Listener, quiet
from everychip.rng import rng_for, seeded_global_generator
from everychip.scores import ACCURACY
from everychip.statistics.outcome import Status, classify_outcome, judge_score, read_status
from everychip.tasks import Classification, Task
from everychip.training import checkpoint as files
from everychip.training.config import Training as Training  # noqa: PLC0414 (taken from here)
from everychip.training.fitted import Fitted as Fitted  # noqa: PLC0414 (taken from here)
from everychip.training.optimizers import optimizer_of
from everychip.training.step import backward, set_rates


def train(
    model: nn.Module,
    method: Method,
    data: Examples,
    *,
    hardware: Hardware,
    training: Training,
    seed: int = 0,
    task: Task | None = None,
    checkpoint: Path | None = None,
    progress: Listener | None = None,
) -> Fitted:
    """Train as `fit` does, and tell how it went: history, status in words, best epoch, forwards spent."""
    if checkpoint is not None:
        files.must_be_writable(checkpoint)
    tell = progress or quiet
    with exclusive(model), torch.inference_mode(False), torch.enable_grad():  # wherever training is called
        asked = task or Classification()
        how: dict[str, Any] = {"hardware": hardware, "training": training, "seed": seed, "tell": tell}
        loop = _Loop(model, method, data, **how, task=asked)
        with kernels_in(model, loop.layout), recomputing(model, training.recompute or ()):
            if checkpoint is not None and checkpoint.exists():
                loop.resume(checkpoint)
            while loop.epoch * loop.batches < loop.steps and loop.status != "diverged":
                loop.run_epoch()
                if checkpoint is not None:
                    loop.save(checkpoint)
        return loop.finish()


@dataclass
class _Best:
    epoch: int = -1
    score: float = -math.inf
    loss: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    learned: dict[str, Tensor] = field(default_factory=dict)


class _Loop:
    """The state of one training: everything that a checkpoint has to hold."""

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        data: Examples,
        *,
        hardware: Hardware,
        training: Training,
        seed: int,
        tell: Listener,
        task: Task,
    ) -> None:
        self.task, self.layout = task, _tried(model, data, task)
        self.data, self.holdout = split_holdout(data, training.validation, seed=seed)
        self.batch_size = min(training.batch_size, len(self.data))
        self.batches = len(self.data) // self.batch_size
        self.steps = training.steps(self.batches, forwards=method.forwards)
        self.device, self.runner = device_of(model), Runner(model, self.layout)
        sample = Runner(model).placed(taken(self.data.x, slice(2)))  # in the memory format of the data
        self.objective: Objective = method.bind(
            model, hardware, seed=seed, sample=sample, steps=self.steps, task=task
        )
        self.objective.to(self.device)
        self.average = None if training.average is None else _averaged(model, training.average)
        how = {name: getattr(training, name) for name in ("lr", "momentum", "weight_decay", "rates")}
        self.optimizer = optimizer_of(self.objective, kind=training.optimizer, **how)
        self.model, self.method, self.hardware, self.training = model, method, hardware, training
        self.seed, self.tell, self.targets = seed, tell, data.y
        self.epoch, self.history, self.best, self.status = 0, [], _Best(), "above_chance"  # type: ignore[var-annotated]
        self.fingerprint = content_hash(
            {
                "method": method.table(),
                "hardware": hardware.table(),
                "training": training.table(),
                "seed": seed,
                "network": identity_of(self.objective),
                "data": files.digest(*_tensors(data)),
                **({} if task == Classification() else {"task": task.table()}),
            }
        )

    def run_epoch(self) -> None:
        """One pass over the training data, then validation on chips of its own."""
        loss = self._pass()
        if not (math.isfinite(loss) and all(map(is_finite, self.kept.parameters()))):
            self.status = "diverged"
            self.history.append({"epoch": self.epoch, "loss": loss})
        else:
            score = self._validate()
            self.history.append({"epoch": self.epoch, "loss": loss, **score})
            value, worse = self._ranked(score)
            better = (value, -worse) > (self.best.score, -self.best.loss)
            if better or self.training.keep == "last" or self.best.epoch < 0:
                weights = deepcopy(self.kept.state_dict())
                self.best = _Best(self.epoch, value, worse, weights, self._learned())
        self.epoch += 1

    def _learned(self) -> dict[str, Tensor]:
        """The full scales as they are now, if any are learned."""
        learned = self.objective.learned
        return {} if learned is None else deepcopy(learned.state_dict())

    def _ranked(self, row: Mapping[str, float]) -> tuple[float, float]:
        """The validated score, higher being better, and what decides between equal ones."""
        judged = self.task.headline
        return judged.sign * row[judged.name], row.get("nll", 0.0)

    @property
    def kept(self) -> nn.Module:
        """What is validated and returned: the average of the weights, or they themselves."""
        return self.model if self.average is None else self.average.module

    def _pass(self) -> float:
        self.objective.train()
        order = torch.randperm(len(self.data), generator=rng_for(self.seed, "order", self.epoch))
        total = torch.zeros((), device=self.device)
        size = self.batch_size
        batches = min(self.batches, self.steps - self.epoch * self.batches)
        with seeded_global_generator(self.seed, "training", self.epoch):
            for batch in range(batches):
                total += self._step(order[batch * size : (batch + 1) * size], batch)
                if batch % 10 == 9 or batch + 1 == batches:
                    if not math.isfinite(float(total)):
                        break
                    self._report(float(total) / (batch + 1), batch)
        return float(total) / batches

    def _step(self, chosen: Tensor, batch: int) -> Tensor:
        step = self.epoch * self.batches + batch
        set_rates(self.optimizer, self.training, step, self.steps)
        part = self.data.take(chosen)
        x, y = part.x, moved(part.y, self.device)
        if self.training.augment is not None:
            x = self._augmented(x, step)
        loss = backward(self.objective, self.optimizer, self.runner.placed(x), y, self.training)
        self.optimizer.step()
        self.objective.after_step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss

    def _augmented(self, x: Inputs, step: int) -> Inputs:
        """The images of a batch, changed at random; targets at every place would not change with them."""
        if self.task.kind in ("segmentation", "tokens", "detection") or not isinstance(x, Tensor):
            raise ConfigError(
                "training.augment",
                found=f"the task {self.task.kind}, whose targets would have to move with the images",
                expected="none",
                remedy="leave augment out, or write the loop yourself with method.bind",
            )
        augment = self.training.augment
        return x if augment is None else augment(x, rng_for(self.seed, "augment", step))

    def _validate(self) -> dict[str, float]:
        seen = self.holdout.take(torch.arange(min(len(self.holdout), self.training.validation_images)))
        if not self.method.noisy:
            with seeded_global_generator(self.seed, "validate"):
                how: dict[str, Any] = {"precision": self.training.precision, "layout": self.layout}
                row = measure(self.kept, {}, seen, task=self.task, **how)
            return self._validated(row)
        draws = evaluate(
            self.kept,
            self.objective.deployed,
            seen,
            chips=self.training.validation_chips,
            seed=self.seed,
            task=self.task,
            precision=self.training.precision,
            purpose="validate",
            calibration=None if not self.hardware.arrays else self.data,
            progress=quiet,
        )
        means = self._validated({name: float(column.mean()) for name, column in draws.scores.items()})
        if self.task.kind != "classification":
            return means
        with autocast(self.device, self.training.precision):
            exits = exit_accuracies(
                self.objective, seen, chips=self.training.validation_chips, layout=self.layout
            )
        return {**means, **exits}

    def _validated(self, row: Mapping[str, float]) -> dict[str, float]:
        """What the history keeps of a validation: the judged score, and what decides between equal ones."""
        return {name: row[name] for name in dict.fromkeys((self.task.headline.name, "nll")) if name in row}

    def _report(self, loss: float, batch: int) -> None:
        values = {"epoch": self.epoch + 1, "loss": loss}
        if self.history and self.task.headline.name in self.history[-1]:
            judged = self.task.headline
            named = "validation" if judged == ACCURACY else f"validation {judged.name}"
            values[named] = self.history[-1][judged.name]
        self.tell(Event("training", self.epoch * self.batches + batch + 1, self.steps, values))

    def save(self, path: Path) -> None:
        """Write everything that the next epoch depends on."""
        tensors = {
            **files.tensors_of(self.objective.state_dict(), "objective."),
            **files.tensors_of(self.best.weights, "best."),
            **files.tensors_of(self.best.learned, "learned."),
            **files.flatten(self.optimizer),
        }
        if self.average is not None:
            tensors |= files.tensors_of(self.average.state_dict(), "average.")
        facts = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "step": self.objective.step,
            "status": self.status,
            "history": [{key: str(value) for key, value in row.items()} for row in self.history],
            "best": [self.best.epoch, str(self.best.score), str(self.best.loss)],
        }
        files.save(path, tensors, facts)

    def resume(self, path: Path) -> None:
        """Go on where a checkpoint of the same training stopped."""
        tensors, facts = files.load(path)
        if facts.get("fingerprint") != self.fingerprint:
            raise StoreError(
                str(path),
                found="the checkpoint of another training",
                expected="one of the same network with the same initial weights, method, hardware, data, "
                "training and seed",
                remedy="build the network as it was when the training began, or use another file",
            )
        self.objective.load_state_dict(files.part(tensors, "objective."))
        files.restore(self.optimizer, tensors)
        if self.average is not None:
            self.average.load_state_dict(files.part(tensors, "average."))
        self.epoch, self.objective.step = facts["epoch"], facts["step"]
        self.status = read_status(facts["status"])
        self.history = [{key: float(value) for key, value in row.items()} for row in facts["history"]]
        epoch, score, loss = facts["best"]
        best, learned = (files.part(tensors, name) for name in ("best.", "learned."))
        self.best = _Best(epoch, float(score), float(loss), best, learned)

    def _outcome(self) -> tuple[Status, str]:
        """What became of the training, in a word and in a sentence."""
        status: Status = self.status  # type: ignore[assignment]
        judged, y = self.task.headline, self.targets
        if self.task.kind == "classification":
            return classify_outcome(status, self.best.score, int(y.max()) + 1, self.history)
        value, chance = judged.sign * self.best.score, self.task.chance(y)
        return judge_score(status, value, judged, chance=chance, history=self.history)

    def finish(self) -> Fitted:
        """Put the best epoch's weights into the model and judge."""
        if self.best.weights:
            self.model.load_state_dict(self.best.weights)
        learned = self.objective.learned
        if learned is not None and self.best.learned:
            learned.load_state_dict(self.best.learned)
        self.model.eval()
        status, words = self._outcome()
        forwards = int(self.objective.step * self.batch_size * self.method.forwards)
        told = self.history, status, words, self.best.epoch, forwards
        known = None if learned is None else learned.values()
        return Fitted(self.objective.detach(), *told, self.objective.deployed, known)


def _tensors(data: Examples) -> list[Tensor]:
    """Everything that a training reads of its data."""
    parts = [*leaves(data.x), *(leaves(data.y) if data.y is not None else ())]
    items = [item for part in parts for item in (part if isinstance(part, list) else [part])]
    every = [leaf for item in items for leaf in leaves(item) if isinstance(leaf, Tensor)]
    return [leaf if leaf.ndim else leaf[None] for leaf in every]


def _tried(model: nn.Module, data: Examples, task: Task) -> torch.memory_format:
    """The memory format of training, once a trial run has shown that the model can be trained."""
    task.validate_for_training()
    few = data.take(slice(2))
    seen, name = probe(model, few.x), type(model).__name__
    task.validate_for(task.answer(seen.output), few.y, every=data.y)
    try:
        model.train(model.training)
    except NotImplementedError:
        raise ModelError(
            name,
            found="a model that has no training mode, as torch.export gives",
            remedy="train the model that it was exported from",
        ) from None
    return seen.layout


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]
