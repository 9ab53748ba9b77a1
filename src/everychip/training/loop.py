"""The training loop: any method, any model; resumable to the bit."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from everychip.config.arguments import a, index, optional, takes
from everychip.config.component import Config
from everychip.config.toml import content_hash
from everychip.data import Arrays, Augment, as_arrays, split_holdout
from everychip.data.repeatable import must_be_repeatable
from everychip.errors import DataError, ModelError, StoreError
from everychip.evaluation.monte_carlo import evaluate, measure
from everychip.hardware.hardware import Hardware
from everychip.methods import Method, Objective
from everychip.methods.exit_accuracy import exit_accuracies
from everychip.network.exclusive import exclusive
from everychip.network.identity import identity_of
from everychip.network.memory_format import kernels_in, to_memory_format
from everychip.network.running import Precision, autocast, probe
from everychip.network.soundness import device_of, is_finite
from everychip.progress import Event, Listener, Progress, listening, quiet
from everychip.rng import rng_for, seeded_global_generator
from everychip.statistics.outcome import Status, classify_outcome, read_status, words_of
from everychip.training import checkpoint as files
from everychip.training.optimizers import Optimizer, Schedule, optimizer_of, share_of_rate
from everychip.training.options import TrainingOptions


class Training(Config):
    """How a method is trained.

    lr: the learning rate at the start. schedule: "cosine" falls to 0 over all steps, "step" to a tenth of lr
    for the last fifth of them. validation: the share of the training data kept for choosing the epoch.
    validation_chips, validation_images: how many chips, disjoint from those of any evaluation, meet how many
    of them after each epoch. precision: of the products. passes: what the training may cost, in passes over
    its data forward and backward, in the place of epochs: a method of twice the cost a step
    (`Method.forwards`) gets half the steps, so methods compare at equal compute; the last epoch may be a part
    of one. average: d of an average over the steps, of all weights and statistics,
    W̄ ← d·W̄ + (1 − d)·W, which is then validated and kept in the place of the last.
    keep: "last" returns the weights of the last epoch; absent, those of the best on validation.

    Source: Adam, cosine, batch 128, lr 1e-3 are those of arXiv 2305.14561 for VGG-8 (over 200 epochs);
    averaging: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992), exponential as in PyTorch's swa_utils;
    the step: the public code of Büchel et al., ICLR 2022 (32 epochs and 8 of a tenth of the rate).

    >>> Training(epochs=3).optimizer
    'adam'
    """

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    passes: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=2, le=1_000_000_000)] = 128
    lr: Annotated[float, Field(gt=0)] = 1e-3
    optimizer: Optimizer = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Schedule = "cosine"
    precision: Precision = "float32"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_chips: Annotated[int, Field(ge=1, le=1_000_000)] = 4
    validation_images: Annotated[int, Field(ge=1)] = 1000
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    keep: Literal["last"] | None = None
    augment: Augment | None = None

    def steps(self, batches: int, *, forwards: float) -> int:
        """How many steps training has, of so many batches an epoch and so many forwards a step.

        >>> Training(epochs=3).steps(100, forwards=4), Training(passes=3).steps(100, forwards=4)
        (300, 75)
        """
        if self.passes is None:
            return self.epochs * batches
        return max(1, math.floor(self.passes * batches / forwards))


@dataclass(frozen=True)
class Fitted:
    """A trained model and how its training went."""

    model: nn.Module
    history: list[dict[str, float]]
    status: Status
    words: str
    best_epoch: int
    forwards: int


@takes(
    model=a(nn.Module, "a torch.nn.Module"),
    hardware=a(Hardware, "an everychip.Hardware"),
    seed=index,
    checkpoint=optional(a((str, Path), "the path of a file")),
)
def fit(
    model: nn.Module,
    method: Method | Mapping[str, Any] | str,
    data: Any,
    *,
    hardware: Hardware,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: Progress = None,
    **options: Unpack[TrainingOptions],
) -> nn.Module:
    """Train the model by a method and return the same model, as it was after its best validated epoch.

    It goes on from the weights that the model has. One that diverged or stayed at chance warns, and says what
    to try.

    Args:
        model: any network of one row of logits per input, [n, classes].
        method: a component, its table or its kind: `ec.methods.IRS(beta=0.1)`, "noise_injection".
        data: (x, y), a DataLoader, Arrays or an `everychip.data` component (its training part); it is read
            once, a loader's batches and order do not count, and items that change from read to read are
            refused (`augment` changes them anew in every epoch).
        hardware: what the chips of training and validation are.
        seed: of chips, order and augmentation.
        checkpoint: a file that is written after each epoch and resumed from, to the bit.
        progress: True, a bar; False, none; absent, one on a terminal; or a function of `progress.Event`.
        options: the fields of `Training`: epochs, batch_size, lr, …

    Returns:
        The same model, in evaluation mode.

    >>> import torch, everychip as ec
    >>> x = torch.randn(256, 4, generator=ec.rng_for(0)); y = (x[:, 0] > 0).long()
    >>> model = torch.nn.Linear(4, 2)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> model = fit(model, "noise_injection", (x, y), hardware=hw, epochs=5, batch_size=16, lr=0.1)
    >>> bool(((model(x).argmax(1) == y).float().mean()) > 0.9)
    True
    """
    training, seed, method = Training(**options), operator.index(seed), Method.parse(method)
    place = None if checkpoint is None else Path(checkpoint)
    must_be_repeatable(data)
    arrays = as_arrays(data, split="train")
    asked: dict[str, Any] = {"hardware": hardware, "training": training, "seed": seed, "checkpoint": place}
    with listening(progress) as tell:
        fitted = train(model, method, arrays, **asked, progress=tell)
    if fitted.status != "above_chance":
        warnings.warn(f"training {words_of(fitted.status)}: {fitted.words}", stacklevel=2)
    return fitted.model


def train(
    model: nn.Module,
    method: Method,
    data: Arrays,
    *,
    hardware: Hardware,
    training: Training,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Listener | None = None,
) -> Fitted:
    """Train as `fit` does, and tell how it went: history, status in words, best epoch, forwards spent."""
    if checkpoint is not None:
        files.must_be_writable(checkpoint)
    tell = progress or quiet
    with exclusive(model), torch.inference_mode(False), torch.enable_grad():  # wherever training is called
        loop = _Loop(model, method, data, hardware=hardware, training=training, seed=seed, tell=tell)
        with kernels_in(model, loop.layout):
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
    accuracy: float = -1.0
    nll: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


class _Loop:
    """The state of one training: everything that a checkpoint has to hold."""

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        data: Arrays,
        *,
        hardware: Hardware,
        training: Training,
        seed: int,
        tell: Listener,
    ) -> None:
        highest = int(data.y.max())
        self.layout = _tried(model, data.x[:2], highest)
        self.data, self.holdout = split_holdout(data, training.validation, seed=seed)
        self.batch_size = min(training.batch_size, len(self.data))
        self.batches = len(self.data) // self.batch_size
        self.steps = training.steps(self.batches, forwards=method.forwards)
        self.device = device_of(model)
        sample = self.data.x[:2].to(self.device)
        self.objective: Objective = method.bind(model, hardware, seed=seed, sample=sample, steps=self.steps)
        self.objective.to(self.device)
        self.average = None if training.average is None else _averaged(model, training.average)
        how = {name: getattr(training, name) for name in ("lr", "momentum", "weight_decay")}
        self.optimizer = optimizer_of(self.objective, kind=training.optimizer, **how)
        self.model, self.method, self.hardware, self.training = model, method, hardware, training
        self.seed, self.tell, self.classes = seed, tell, highest + 1
        self.epoch, self.history, self.best, self.status = 0, [], _Best(), "above_chance"  # type: ignore[var-annotated]
        self.fingerprint = content_hash(
            {
                "method": method.table(),
                "hardware": hardware.table(),
                "training": training.table(),
                "seed": seed,
                "network": identity_of(self.objective),
                "data": files.digest(data.x, data.y),
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
            better = (score["accuracy"], -score["nll"]) > (self.best.accuracy, -self.best.nll)
            if better or self.training.keep == "last":
                weights = deepcopy(self.kept.state_dict())
                self.best = _Best(self.epoch, score["accuracy"], score["nll"], weights)
        self.epoch += 1

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
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.lr * share_of_rate(self.training.schedule, step, self.steps)
        x, y = self.data.x[chosen], self.data.y[chosen].to(self.device)
        if self.training.augment is not None:
            x = self.training.augment(x, rng_for(self.seed, "augment", step))
        with autocast(self.device, self.training.precision):
            loss: Tensor = self.objective(to_memory_format(x.to(self.device), self.layout), y)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.objective.after_step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()

    def _validate(self) -> dict[str, float]:
        seen = self.holdout.take(torch.arange(min(len(self.holdout), self.training.validation_images)))
        if not self.method.noisy:
            with seeded_global_generator(self.seed, "validate"):
                row = measure(self.kept, {}, seen, precision=self.training.precision, layout=self.layout)
            return {"accuracy": row["accuracy"], "nll": row["nll"]}
        draws = evaluate(
            self.kept,
            self.hardware,
            seen,
            chips=self.training.validation_chips,
            seed=self.seed,
            precision=self.training.precision,
            purpose="validate",
            calibration=None if not self.hardware.arrays else self.data,
            progress=quiet,
        )
        with autocast(self.device, self.training.precision):
            exits = exit_accuracies(
                self.objective, seen, chips=self.training.validation_chips, layout=self.layout
            )
        return {"accuracy": float(draws.accuracy.mean()), "nll": float(draws.nll.mean()), **exits}

    def _report(self, loss: float, batch: int) -> None:
        values = {"epoch": self.epoch + 1, "loss": loss}
        if self.history and "accuracy" in self.history[-1]:
            values["validation"] = self.history[-1]["accuracy"]
        self.tell(Event("training", self.epoch * self.batches + batch + 1, self.steps, values))

    def save(self, path: Path) -> None:
        """Write everything that the next epoch depends on."""
        tensors = {
            **files.tensors_of(self.objective.state_dict(), "objective."),
            **files.tensors_of(self.best.weights, "best."),
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
            "best": [self.best.epoch, str(self.best.accuracy), str(self.best.nll)],
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
        epoch, accuracy, nll = facts["best"]
        self.best = _Best(epoch, float(accuracy), float(nll), files.part(tensors, "best."))

    def finish(self) -> Fitted:
        """Put the best epoch's weights into the model and judge."""
        if self.best.weights:
            self.model.load_state_dict(self.best.weights)
        self.model.eval()
        status, words = classify_outcome(self.status, self.best.accuracy, self.classes, self.history)  # type: ignore[arg-type]
        forwards = int(self.objective.step * self.batch_size * self.method.forwards)
        return Fitted(self.objective.detach(), self.history, status, words, self.best.epoch, forwards)


def _tried(model: nn.Module, x: Tensor, highest: int) -> torch.memory_format:
    """The memory format of training, once a trial run has shown that the model can be trained."""
    seen, name = probe(model, x), type(model).__name__
    if len(seen.shape) != 2 or seen.shape[0] != len(x):
        raise ModelError(
            name,
            found=f"an output of shape {list(seen.shape)} for {len(x)} inputs",
            expected=f"one row of logits per input, [{len(x)}, classes]",
        )
    if highest >= seen.classes:
        raise DataError(
            "training data", found=f"label {highest}", expected=f"labels below the model's {seen.classes}"
        )
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
