"""Lightning: a module that trains any network by any method, and a callback for modules of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from everychip.doors.batches import LABELS, split_batch, without_name
from everychip.errors import ConfigError, MissingExtraError
from everychip.hardware.hardware import Hardware
from everychip.methods import Method, Objective
from everychip.network.modes import evaluating
from everychip.tasks import Task
from everychip.tasks.base import Meter

try:
    import lightning as L
except ImportError:
    raise MissingExtraError("everychip.doors.lightning", "lightning") from None

OptimizerOf = Callable[[Iterable[nn.Parameter]], Any]


class AfterStep(L.Callback):
    """Calls `after_step` of every objective in a LightningModule, once per optimizer step.

    Under `accumulate_grad_batches=k` that is once in k batches. It acts before checkpoints are written and
    before validation, whose weights then are within the constraint.
    """

    def __init__(self) -> None:
        self._done = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count from where a resumed training stands."""
        del pl_module
        self._done = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the objectives on where an optimizer has stepped."""
        if trainer.global_step > self._done:
            self._done = trainer.global_step
            for module in pl_module.modules():
                if isinstance(module, Objective):
                    module.after_step()


class ChipModule(L.LightningModule):
    """A network that Lightning trains by a method and validates on chips of their own.

    Gradient accumulation, checkpoints and resumption (exits, ramp and chips go on where they were), and
    `precision="bf16-mixed"` are Lightning's own.

    Args:
        model: any network that answers with logits; a dict batch is given to it as keyword arguments.
        method: a component, its table or its kind, as in `everychip.fit`.
        hardware: what the chips of training and validation are.
        seed: of chips.
        sample: at least two inputs, for the methods that attach exits (`IRS`, `DeepSupervision`).
        optimizer: makes the optimizer, or what `configure_optimizers` may return, from the parameters of the
            model and its exits; absent, Adam at 1e-3.
        chips: on how many chips, disjoint from those of an evaluation, each validation batch is tried.
        labels: the names under which a dict batch may hold its labels.
        steps: the length of training in optimizer steps; absent, Lightning's own estimate of it.
        task: the network's task, as in `everychip.fit`; its loss trains, its score is validated.

    >>> import everychip as ec
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> module = ChipModule(torch.nn.Linear(4, 2), "noise_injection", hw)
    >>> module.method.kind
    'noise_injection'
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method | Mapping[str, Any] | str,
        hardware: Hardware,
        *,
        seed: int = 0,
        sample: Any = None,
        optimizer: OptimizerOf | None = None,
        chips: int = 4,
        labels: str | Sequence[str] = LABELS,
        steps: int | None = None,
        task: Task | Mapping[str, Any] | str = "classification",
    ) -> None:
        super().__init__()
        if chips < 1:
            raise ConfigError("ChipModule.chips", found=str(chips), expected="at least 1")
        self.model, self.method, self.hardware = model, Method.parse(method), hardware
        self.seed, self.sample, self.optimizer_of = seed, sample, optimizer
        self.validation_chips, self.labels, self.steps = chips, labels, steps
        self.task = Task.parse(task)
        self.objective: Objective | None = None
        self._chips: list[dict[str, Tensor]] = []
        self._meters: list[Meter] = []

    def setup(self, stage: str) -> None:
        """Bind the method, once Lightning knows how long training is."""
        if stage == "fit" and self.objective is None:
            self.objective = self.method.bind(
                self.model,
                self.hardware,
                seed=self.seed,
                sample=self.sample,
                steps=self.steps or self._steps(),
                task=self.task,
            )

    def _steps(self) -> int | None:
        estimate = self.trainer.estimated_stepping_batches
        return int(estimate) if estimate != float("inf") else None

    def configure_callbacks(self) -> list[L.Callback]:
        """`AfterStep`."""
        return [AfterStep()]

    def configure_optimizers(self) -> Any:
        """The optimizer of the model's and the exits' parameters."""
        parameters = self.bound.parameters()
        return torch.optim.Adam(parameters) if self.optimizer_of is None else self.optimizer_of(parameters)

    @property
    def bound(self) -> Objective:
        """The method bound to the model; it is there once Lightning has set up a training."""
        if self.objective is None:
            raise ConfigError(
                "ChipModule", found="that it is not set up", expected="Trainer.fit(module, …) before"
            )
        return self.objective

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the digital network answers."""
        return self.model(*args, **kwargs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The method's loss of one batch, on a fresh chip of this optimizer step."""
        x, y = self._split(batch)
        loss: Tensor = self.bound(x, y)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(y))
        return loss

    def _split(self, batch: Any) -> tuple[Any, Any]:
        x, y = split_batch(batch, labels=self.labels)
        return without_name(x, self.model), y

    def on_validation_epoch_start(self) -> None:
        """Program the validation's chips with the weights of now."""
        with torch.no_grad():
            chips = range(self.validation_chips)
            self._chips = [
                self.bound.placed.program(seed=self.seed, path=("validate", chip)) for chip in chips
            ]
        self._meters = [self.task.meter() for _ in ({}, *self._chips)]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log `val_loss`, a mean over the chips, and let the task's meters take the batch in."""
        x, y = self._split(batch)
        losses = []
        for chip, meter in zip(({}, *self._chips), self._meters, strict=True):
            with evaluating(self.model):
                answer = self.task.answer(self.bound.runner.outputs(chip, x))
            meter.update(answer, y)
            losses.append(self.task.loss(answer.float(), y))
        self.log("val_loss", torch.stack(losses[1:]).mean(), batch_size=len(y), prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Log the task's score: `val_accuracy`, a mean over the chips, and `val_accuracy_digital`."""
        name = self.task.headline.name
        digital, *scores = [meter.compute()[name] for meter in self._meters]
        values = {f"val_{name}": sum(scores) / len(scores), f"val_{name}_digital": digital}
        self.log_dict(values, prog_bar=True)
        self._chips, self._meters = [], []

    def detach(self) -> nn.Module:
        """The trained network, without exits.

        Returns:
            The same model that was handed in.
        """
        return self.model
