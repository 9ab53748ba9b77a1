"""A method bound to a model and its hardware: losses through fresh chips, and the count of the steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from everychip.data.inputs import Inputs, rows_of, taken
from everychip.errors import ConfigError
from everychip.exits import Exits, multi_exit
from everychip.exits.dense import spread_like
from everychip.hardware.calibration import watched
from everychip.hardware.chip import NoiseGradient
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mapping import Columns
from everychip.methods.exit_loss import exits_loss, listening_to_exits
from everychip.methods.learned import LearnedInputs, LearnedScales, LearnedSides
from everychip.methods.redrawn import Redrawn
from everychip.methods.reminder import Reminder
from everychip.network.eager import is_compiled
from everychip.network.order import followers, order_of_use
from everychip.network.running import Runner
from everychip.network.soundness import device_of
from everychip.tasks import Classification, Task


class Bound(Protocol):
    """What an objective needs of its method (`everychip.methods.Method`)."""

    @property
    def kind(self) -> str: ...
    @property
    def chips(self) -> int | None: ...
    @property
    def ramp(self) -> float | None: ...
    @property
    def noise_gradient(self) -> NoiseGradient: ...
    @property
    def last_layer_gain(self) -> float: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def exit_loss(self) -> float: ...
    @property
    def loss_forward(self) -> int: ...
    @property
    def inputs(self) -> LearnedInputs | None: ...
    @property
    def scales(self) -> LearnedScales | None: ...
    def loss(self, objective: Objective, x: Any, y: Any) -> Tensor: ...
    def begin_step(self, objective: Objective) -> None: ...
    def constrain(self, objective: Objective) -> None: ...


class Objective(nn.Module):
    """A method bound to a model: computes losses through fresh chips and keeps count of the steps."""

    def __init__(
        self,
        method: Bound,
        model: nn.Module,
        hardware: Hardware,
        *,
        seed: int,
        exits: Exits | None,
        steps: int | None,
        sample: Inputs | None = None,
        task: Task | None = None,
    ) -> None:
        super().__init__()
        self.model, self.exits, self.task = model, exits, task or Classification()
        self.method, self.seed, self.steps = method, seed, steps
        self._placed, self.runner = Placed.of(model, hardware), Runner(model)
        self.learned: LearnedSides | None = None
        self.step, self.part, self.begun = 0, 0, -1
        self._reminder = Reminder(self, self.trained)
        self._redrawn: Redrawn | None = None
        self._sample = sample
        if method.last_layer_gain != 1.0:
            self._last_trained().data.mul_(method.last_layer_gain)
        self.method.constrain(self)
        if method.inputs is not None or method.scales is not None:
            where = f"method {method.kind}"
            self.learned = LearnedSides(self._placed, method.inputs, method.scales, where=where)

    def forward(self, x: Inputs, y: Any) -> Tensor:
        """The loss of one batch: the mean over the chips that share it, if several do."""
        x = self.runner.typed(x)
        if torch.is_grad_enabled():
            self._reminder.before_forward(self.step)
        if self.begun != self.step:
            self.begun = self.step
            self.method.begin_step(self)
        if self.learned is not None and not self.learned.has_started:
            self._start_ranges(self.learned, x)
        if self.method.chips in (None, 1):
            return self._loss(x, y)
        total, n = torch.zeros((), device=device_of(self.model)), rows_of(x)
        for part, (inputs, labels) in enumerate(_shares(x, y, self.method.chips)):
            self.part = part
            total = total + self._loss(inputs, labels) * (rows_of(inputs) / n)
        self.part = 0
        return total

    def _start_ranges(self, learned: LearnedSides, x: Inputs) -> None:
        """Measure what the converters meet in a batch; the model's buffers and the generators stay."""
        held, observers = watched(self._placed, seed=self.seed)
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        gpus = {weight.device for weight in self.weights.values() if weight.is_cuda}
        with torch.no_grad(), torch.random.fork_rng(devices=gpus):
            self.runner.outputs({**held, **buffers}, x)
        learned.start(observers)

    @property
    def placed(self) -> Placed:
        """Where the model's parameters stand, with full scales as they have been learned so far."""
        return self._placed if self.learned is None else self.learned.over(self._placed)

    @property
    def deployed(self) -> Hardware:
        """The hardware that the model as it is now belongs to: with the full scales that were learned."""
        return self.hardware if self.learned is None else self.learned.deployed(self.hardware)

    def criterion(self, answer: Tensor, y: Any) -> Tensor:
        """The task's loss of logits, with the method's label smoothing: what the method trains by.

        Args:
            answer: logits [batch, …].
            y: targets.

        Returns:
            A scalar.
        """
        return self.task.loss(answer, y, label_smoothing=self.method.label_smoothing)

    def _loss(self, x: Inputs, y: Any) -> Tensor:
        """The method's loss of one part of a batch, and that of the exits that stay."""
        if not self.method.exit_loss:
            return self.method.loss(self, x, y)
        with listening_to_exits(multi_exit(self.model, where="method.exit_loss")) as forwards:
            loss = self.method.loss(self, x, y)
        exits, axis = forwards[self.method.loss_forward], self.task.class_axis
        return loss + self.method.exit_loss * exits_loss(self.criterion, exits, y, axis=axis)

    @property
    def address(self) -> tuple[int, ...]:
        """Where the draws of this step have their place, and those of this part of its batch."""
        return (self.step, self.part) if self.part else (self.step,)

    @property
    def strength(self) -> float:
        """The share of the full noise of this step."""
        if not self.method.ramp or self.steps is None:
            return 1.0
        return min(1.0, self.step / (self.method.ramp * self.steps))

    @property
    def hardware(self) -> Hardware:
        """What the model is trained for."""
        return self._placed.hardware

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What the crossbar holds of the model, by name."""
        return self._placed.weights

    @property
    def columns(self) -> Mapping[str, Columns]:
        """Which numbers of the weights share a column, by name."""
        return self._placed.columns

    @property
    def trained(self) -> dict[str, Tensor]:
        """The weights on the crossbar that are not frozen, by name."""
        return {name: weight for name, weight in self.weights.items() if weight.requires_grad}

    @cached_property
    def order(self) -> list[str]:
        """The names of the weights in the order of the sample's forward pass; without one, of the model."""
        return order_of_use(self.model, self.weights, self._sample)

    @cached_property
    def followers(self) -> Mapping[nn.Module, nn.Module]:
        """The layer that comes after each layer, by use where there is a sample (`network.order`)."""
        return followers(self.model, self._sample)

    def _last_trained(self) -> Tensor:
        trained = self.trained
        if not trained:
            raise ConfigError(
                "method.last_layer_gain",
                found="no matrix of the crossbar that is trained",
                expected="at least one, whose last it scales",
                remedy="last_layer_gain = 1, or parameter.requires_grad_(True)",
            )
        return next(trained[name] for name in reversed(self.order) if name in trained)

    def chip(
        self,
        *,
        hardware: Hardware | None = None,
        weights: Mapping[str, Tensor] | None = None,
        part: str | int = 0,
        ratio: float = 1.0,
    ) -> dict[str, Tensor]:
        """A fresh chip for this step. `part` names the draw where a step needs several; `ratio` scales it.

        Args:
            hardware: another one than the objective's.
            weights: those to program; None, all of the crossbar.
            part: which draw of this step.
            ratio: a factor on the noise, without unit.

        Returns:
            Programmed weights by name.
        """
        placed = self.placed if hardware is None else self.placed.with_hardware(hardware)
        placed = placed if weights is None else placed.with_weights(weights)
        how: dict[str, Any] = {
            "seed": self.seed,
            "path": ("train", *self.address, part),
            "strength": self.strength * ratio,
            "gradient": self.method.noise_gradient,
        }
        chip = placed.program(**how)
        if self._redrawn is not None:
            self._redrawn.remember(chip, placed, how)
        return chip

    @contextmanager
    def redrawing(self) -> Iterator[None]:
        """Inside, losses keep no chip for their backward, which draws it again (`methods.redrawn`)."""
        if is_compiled(self.model):
            raise ConfigError(
                "training.redraw",
                found="a compiled network, whose backward is one piece",
                expected="a network that is not compiled",
                remedy="redraw = false",
            )
        self._redrawn = Redrawn()
        try:
            with self._redrawn.instead_of_kept():
                yield
        finally:
            self._redrawn = None

    def noisy_logits(self, x: Inputs, **draw: object) -> Tensor:
        """The logits of a fresh chip of this step; keywords as for `chip`.

        Args:
            x: inputs [batch, …].
            draw: keywords of `chip`.

        Returns:
            [batch, classes].
        """
        return self.runner.logits(self.chip(**draw), x)  # type: ignore[arg-type]

    def logits_with_exits(
        self, x: Inputs, *, exit_hardware: Hardware | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The logits of the backbone and of every exit, each on fresh cells of the same step.

        Args:
            x: inputs [batch, …].
            exit_hardware: that of the exits' cells; None, the objective's.

        Returns:
            The backbone's [batch, classes], and those of every exit.
        """
        if self.exits is None:
            raise ConfigError(
                f"method {self.method.kind}", found="no exits", expected="a method that has them"
            )
        heads = {name: p for name, p in self.exits.named_parameters() if p.ndim >= 2}
        with self.exits.tap(self.model) as taps:
            backbone = self.runner.logits(self.chip(), x)
        chip = self.chip(hardware=exit_hardware, weights=heads, part="exits")
        exits, axis = self.exits.logits(taps, chip=chip), self.task.class_axis
        if axis is not None:
            exits = [spread_like(z_n, backbone, axis=axis) for z_n in exits]
        return backbone, exits

    def after_step(self) -> None:
        """Call after each optimiser step: applies the constraint and moves the schedules on."""
        self.step, self._reminder.done = self.step + 1, 0
        self.method.constrain(self)

    def get_extra_state(self) -> Tensor:
        """The steps done, so that the ramp and the chips go on wherever the objective's state is loaded."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after the steps that were done."""
        self.step = int(state)

    def detach(self) -> nn.Module:
        """The model, without exits."""
        return self.model


def _shares(x: Inputs, y: Any, chips: int) -> Iterator[tuple[Any, Any]]:
    """A batch in as many parts as there are chips, each of at least two examples, which batch norm needs."""
    n = rows_of(x)
    parts = max(1, min(chips, n // 2))
    for rows in torch.arange(n).tensor_split(parts):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        yield taken(x, part), taken(y, part)
