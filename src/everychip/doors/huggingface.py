"""Hugging Face's Trainer, training by any method and evaluating on chips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from everychip.doors.batches import LABELS, split_batch, without_name
from everychip.doors.objective_file import FILE, load_objective, save_objective
from everychip.errors import ConfigError, MissingExtraError
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.methods import Method, Objective
from everychip.network.running import Runner
from everychip.tasks import Task

try:
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
except ImportError:
    raise MissingExtraError("everychip.doors.huggingface", "transformers") from None


class AfterStep(TrainerCallback):  # type: ignore[misc]
    """Calls `objective.after_step()` once per optimizer step, whatever number of batches a step has.

    `ChipTrainer` brings it; a Trainer of one's own, whose `compute_loss` calls an objective, adds it.

    Args:
        objective: a bound method, or a function that gives it once it is bound.
    """

    def __init__(self, objective: Any) -> None:
        self.objective = objective

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the objective on: constraint, ramp and chips."""
        bound = self.objective if isinstance(self.objective, Objective) else self.objective()
        bound.after_step()
        bound.zero_grad()  # the Trainer clears the gradients of the model, and exits are no part of it


class ChipTrainer(Trainer):  # type: ignore[misc]
    """A `transformers.Trainer` that trains by a method and evaluates on chips.

    Everything else is the Trainer's: data collators, gradient accumulation, bf16, checkpoints. A checkpoint
    also holds the objective with its model (`everychip.safetensors`), so a resumed training goes on with the
    same weights, ramp, exits and chips. Metrics of an evaluation during training are means over `chips` chips
    that no later evaluation meets; those of the digital network stand beside them as `eval_digital_…`.

    Args:
        model: a network whose output holds `logits` (and `loss`, where it is evaluated).
        args: TrainingArguments.
        method: a component, its table or its kind, as in `everychip.fit`.
        hardware: what the chips are.
        chips: how many chips an evaluation takes.
        task: the network's task, as in `everychip.fit`; its loss trains.
        options: what else a Trainer takes: train_dataset, eval_dataset, data_collator, compute_metrics, …
    """

    def __init__(
        self,
        model: nn.Module,
        args: Any = None,
        *,
        method: Method | Mapping[str, Any] | str,
        hardware: Hardware,
        chips: int = 4,
        task: Task | Mapping[str, Any] | str = "classification",
        **options: Any,
    ) -> None:
        if chips < 0:
            raise ConfigError("ChipTrainer.chips", found=str(chips), expected="0 or more")
        super().__init__(model, args, **options)
        self.method, self.hardware, self.chips = Method.parse(method), hardware, chips
        self.task = Task.parse(task)
        self.objective: Objective | None = None
        self.runner = Runner(self.model)
        self._chip: dict[str, Tensor] = {}
        self._resumed: Path | None = None
        self.model_accepts_loss_kwargs = False  # an objective's loss is a mean, which accumulation divides
        self.add_callback(AfterStep(lambda: self.objective))

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does; a checkpoint also brings the objective back.

        Args:
            resume_from_checkpoint: a checkpoint's folder, or True for the last one of `output_dir`.
            args, kwargs: what `Trainer.train` takes beside it.

        Returns:
            The Trainer's own output.
        """
        last = get_last_checkpoint(self.args.output_dir) if resume_from_checkpoint is True else None
        place = last if resume_from_checkpoint is True else resume_from_checkpoint
        self._resumed, self.objective = (Path(place) if place else None), None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """The Trainer's optimizer, with the parameters of the exits where the method has them."""
        first = self.objective is None
        self.objective = self.objective or self._bind()
        optimizer = super().create_optimizer(model)
        if first:
            known = {id(p) for group in optimizer.param_groups for p in group["params"]}
            known |= {id(p) for p in self.model.parameters()}
            learned = [] if self.objective.learned is None else list(self.objective.learned.parameters())
            known |= {id(p) for p in learned}
            added = [p for p in self.objective.parameters() if id(p) not in known and p.requires_grad]
            for group in ({"params": added}, {"params": learned, "weight_decay": 0.0}):
                if group["params"]:
                    optimizer.add_param_group(group)
        return optimizer

    def _bind(self) -> Objective:
        steps = self.state.max_steps if self.state.max_steps > 0 else None
        objective = self.method.bind(
            self.model, self.hardware, seed=self.args.seed, sample=self._sample(), steps=steps, task=self.task
        ).to(self.args.device)
        if self._resumed is not None:  # all of it, for binding scales and constrains what was so already
            load_objective(objective, self._resumed / FILE)
        return objective

    def _sample(self) -> Any:
        """Two inputs, collated as batches of the training are, which size exits."""
        collate = self._get_collator_with_removed_columns(self.data_collator)
        with torch.random.fork_rng(devices=[]):
            batch = collate([self.train_dataset[index] for index in range(2)])
        return self._split(self._prepare_inputs(batch))[0]

    def _split(self, batch: Any) -> tuple[Any, Any]:
        x, y = split_batch(batch, labels=(*self.label_names, *LABELS))
        return without_name(x, self.model), y

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The method's loss while it trains; in an evaluation, what the chip at hand answers."""
        if model.training and self.objective is not None and not return_outputs:
            x, y = self._split(inputs)
            with self.accelerator.autocast():
                return self.objective(x, y)
        run = model if not self._chip else _OnChip(self.runner, self._chip)
        return super().compute_loss(run, inputs, return_outputs, num_items_in_batch)

    def evaluation_loop(self, dataloader: Any, description: str, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's loop: of the digital network, and in an evaluation, of every chip."""
        output = super().evaluation_loop(dataloader, description, *args, **kwargs)
        if description != "Evaluation" or not self.chips:
            return output
        rows = []
        for chip in self._validation_chips():
            with self._running(chip):
                rows.append(super().evaluation_loop(dataloader, description, *args, **kwargs).metrics)
        prefix = kwargs.get("metric_key_prefix", "eval")
        digital = {
            name.replace(prefix, f"{prefix}_digital", 1): value for name, value in output.metrics.items()
        }
        means = {
            name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if _is_number(rows, name)
        }
        output.metrics.clear()
        output.metrics.update({**digital, **means})
        return output

    def _validation_chips(self) -> Iterator[dict[str, Tensor]]:
        hardware = self.hardware if self.objective is None else self.objective.deployed
        placed = Placed.of(self.model, hardware)
        for chip in range(self.chips):
            with torch.no_grad():
                yield placed.program(seed=self.args.seed, path=("validate", chip))

    @contextmanager
    def _running(self, chip: dict[str, Tensor]) -> Iterator[None]:
        self._chip = chip
        try:
            yield
        finally:
            self._chip = {}

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.objective is not None and self.args.should_save:
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            save_objective(self.objective, folder / FILE)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        best = self.state.best_model_checkpoint
        if self.objective is not None and best is not None:
            load_objective(self.objective, Path(best) / FILE)


class _OnChip:
    """A chip that is called as its model is."""

    def __init__(self, runner: Runner, chip: Mapping[str, Tensor]) -> None:
        self.runner, self.chip = runner, chip

    def __call__(self, **inputs: Any) -> Any:
        return self.runner.outputs(self.chip, inputs)


def _is_number(rows: list[dict[str, Any]], name: str) -> bool:
    return all(isinstance(row.get(name), int | float) for row in rows)
