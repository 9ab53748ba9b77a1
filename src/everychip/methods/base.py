"""What every method is: a training objective that is bound to a model and its hardware."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.config.arguments import a, index, takes
from everychip.config.component import Component
from everychip.config.registering import Before
from everychip.config.validation import must_be
from everychip.errors import ConfigError
from everychip.exits import Exits, multi_exit
from everychip.hardware.chip import NoiseGradient
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.mapping import Columns
from everychip.methods.constraints import Constraint
from everychip.methods.exit_loss import exits_cross_entropy, listening_to_exits
from everychip.methods.losses import cross_entropy
from everychip.methods.reminder import Reminder
from everychip.network.order import order_of_use
from everychip.network.running import Runner

Role = Literal["baseline", "control", "method"]
"""A baseline is what everybody does; a control exists only to test a claim of a method."""


class Method(Component, family="method"):
    """A training objective from one paper. What follows composes with every one of them.

    constraint: what the crossbar's weights are brought back to after each step. ramp: the share of training
    over which the noise grows linearly from 0 to its full strength; 0 or absent: at once. noise_gradient:
    what backward sees of the noise (see `program_weights`). Where a method meets no noise, these two
    change nothing, but a ramp still asks for the length of training. last_layer_gain: a factor on the last
    matrix of the crossbar that is trained, at the start of training: the last that a forward of `bind`'s
    sample multiplies by, or without a sample the last that the model defines. label_smoothing: of every
    cross-entropy. chips: how many chips share each batch, each with a part of it; absent, one. The gradient
    then is the mean over as many chips, at the cost of their sampling only. exit_loss: λ of a network whose
    exits stay (`everychip.MultiExit`): its exits' own losses are added, λ·mean_n CE(z_n, y).
    """

    constraint: Constraint | None = None
    ramp: Annotated[float, Field(ge=0, le=1)] | None = None
    noise_gradient: NoiseGradient = "detached"
    last_layer_gain: Annotated[float, Field(gt=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    chips: Annotated[int, Field(ge=1)] | None = None
    exit_loss: Annotated[float, Field(ge=0), Before(0.0)] = 0.0

    role: ClassVar[Role] = "method"
    """What the method is in a comparison; a report orders by it."""

    controls: ClassVar[tuple[str, ...]] = ("noise_injection", "temperature")
    """The kinds that a report compares the method with; `temperature` only where the loss rescales logits."""

    claim_control: ClassVar[str] = ""
    """The one of its controls that tests what it claims; a report's first lines name the difference."""

    colour: ClassVar[str] = ""
    """Its own colour in every chart, as #rrggbb; without one, the next that is free."""

    own: ClassVar[bool] = False
    """Whether it is this project's own and no paper's."""
    noisy: ClassVar[bool] = True
    """Whether training meets the device at all."""

    forwards: ClassVar[float] = 1.0
    """The cost of a training step, in forward passes (each with its backward) of the backbone."""

    loss_forward: ClassVar[int] = 0
    """Which of a step's forwards with a gradient the exits' own losses are of, where exits stay."""

    @classmethod
    def compared_with(cls, kinds: Iterable[str]) -> tuple[str, ...]:
        """The kinds, of those that a study has, that a report compares this one with.

        Args:
            kinds: the kinds of method in the study, in its order.

        Returns:
            Those of them that are `controls`, in the order of `controls`.
        """
        present = set(kinds)
        return tuple(kind for kind in cls.controls if kind in present)

    @abstractmethod
    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        """The loss of one batch, through the objective's chips.

        Args:
            objective: the method bound to its model.
            x: inputs [batch, …].
            y: labels [batch].

        Returns:
            A scalar.
        """

    def resolved(self, hardware: Hardware) -> Self:
        """The method with everything decided that depends on the hardware: what `bind` trains with.

        Args:
            hardware: device, mapping and array that it is programmed into.

        Returns:
            The same method without an "auto".
        """
        return self

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """Raise where this method cannot train on this hardware or lacks the sample it needs.

        Args:
            hardware: device, mapping and array that it is programmed into.
            sample: a batch of at least two inputs; None where there is none.
        """

    def exits(self, model: nn.Module, sample: Tensor, *, seed: int) -> Exits | None:
        """The internal classifiers the method needs, or None.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            sample: a batch of at least two inputs; None where there is none.
            seed: of all draws, a whole number.

        Returns:
            The exits, or None.
        """
        return None

    @takes(model=a(nn.Module, "a torch.nn.Module"), hardware=a(Hardware, "an everychip.Hardware"), seed=index)
    def bind(
        self,
        model: nn.Module,
        hardware: Hardware,
        *,
        seed: int = 0,
        sample: Tensor | None = None,
        steps: int | None = None,
    ) -> Objective:
        """The objective for one model: `loss = objective(x, y)`, then `objective.after_step()`.

        Args:
            model: the network that is trained; any `nn.Module`.
            hardware: what the chips of training are.
            seed: of all draws, a whole number.
            sample: a batch of at least two inputs, which sizes the exits of the methods that have them and
                tells which matrix is the last.
            steps: the length of training in steps, at least 1, which a ramp, a distillation's teacher and
                `Resilient.population` are shares of.

        Returns:
            The loss of that model on its chips, as a module.
        """
        if steps is not None:
            remedy = "bind(model, hardware, steps=epochs * batches)"
            must_be(steps, "bind.steps", whole=True, least=1, remedy=remedy)
        if self.ramp and steps is None:
            raise ConfigError(
                "method.ramp",
                found="no length of training",
                expected="the number of steps that the ramp is a share of",
                remedy="bind(model, hardware, steps=epochs * batches)",
            )
        method = self.resolved(hardware)
        method.validate_for(hardware, sample)
        if self.exit_loss:
            multi_exit(model, where="method.exit_loss")
        exits = None if sample is None else method.exits(model, sample, seed=seed)
        objective = Objective(method, model, hardware, seed=seed, exits=exits, steps=steps, sample=sample)
        method.prepare(objective)
        return objective

    def prepare(self, objective: Objective) -> None:
        """Add to a new objective what the method needs beside the model, as a part of its state.

        Args:
            objective: the method bound to its model.
        """

    def begin_step(self, objective: Objective) -> None:
        """Called before the first forward of every step, whatever number of forwards the step has.

        Args:
            objective: the method bound to its model.
        """

    def constrain(self, objective: Objective) -> None:
        """Bring the weights on the crossbar back to the constraint, as at the start and after each step.

        Args:
            objective: the method bound to its model.
        """
        if self.constraint is not None:
            trained = objective.trained
            self.constraint.apply_on(trained.values(), [objective.columns[name] for name in trained])

    def cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy with this method's label smoothing.

        Args:
            logits: [batch, classes].
            y: labels [batch].

        Returns:
            A scalar.
        """
        return cross_entropy(logits, y, label_smoothing=self.label_smoothing)


class Objective(nn.Module):
    """A method bound to a model: computes losses through fresh chips and keeps count of the steps."""

    def __init__(
        self,
        method: Method,
        model: nn.Module,
        hardware: Hardware,
        *,
        seed: int,
        exits: Exits | None,
        steps: int | None,
        sample: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model, self.exits = model, exits
        self.method, self.seed, self.steps = method, seed, steps
        self.placed, self.runner = Placed.of(model, hardware), Runner(model)
        self.step, self.part, self.begun = 0, 0, -1
        self._reminder = Reminder(self, self.trained)
        self._sample = sample
        if method.last_layer_gain != 1.0:
            self._last_trained().data.mul_(method.last_layer_gain)
        self.method.constrain(self)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of one batch: the mean over the chips that share it, if several do."""
        if torch.is_grad_enabled():
            self._reminder.before_forward(self.step)
        if self.begun != self.step:
            self.begun = self.step
            self.method.begin_step(self)
        if self.method.chips in (None, 1):
            return self._loss(x, y)
        total = torch.zeros((), device=y.device)
        for part, (inputs, labels) in enumerate(_shares(x, y, self.method.chips)):
            self.part = part
            total = total + self._loss(inputs, labels) * (len(labels) / len(y))
        self.part = 0
        return total

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The method's loss of one part of a batch, and that of the exits that stay."""
        if not self.method.exit_loss:
            return self.method.loss(self, x, y)
        with listening_to_exits(multi_exit(self.model, where="method.exit_loss")) as forwards:
            loss = self.method.loss(self, x, y)
        return loss + self.method.exit_loss * exits_cross_entropy(self.method, forwards, y)

    @property
    def address(self) -> tuple[int, ...]:
        """Where the draws of this step have their place, and those of this part of its batch."""
        return (self.step, self.part) if self.part else (self.step,)

    @property
    def strength(self) -> float:
        """The share of the full noise that this step meets."""
        if not self.method.ramp or self.steps is None:
            return 1.0
        return min(1.0, self.step / (self.method.ramp * self.steps))

    @property
    def hardware(self) -> Hardware:
        """What the model is trained for."""
        return self.placed.hardware

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What the crossbar holds of the model, by name."""
        return self.placed.weights

    @property
    def columns(self) -> Mapping[str, Columns]:
        """Which numbers of the weights share a column, by name."""
        return self.placed.columns

    @property
    def trained(self) -> dict[str, Tensor]:
        """The weights on the crossbar that are not frozen, by name."""
        return {name: weight for name, weight in self.weights.items() if weight.requires_grad}

    @cached_property
    def order(self) -> list[str]:
        """The names of the weights as the sample's forward meets them; without one, as the model has them."""
        return order_of_use(self.model, self.weights, self._sample)

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
        return (placed if weights is None else placed.with_weights(weights)).program(
            seed=self.seed,
            path=("train", *self.address, part),
            strength=self.strength * ratio,
            gradient=self.method.noise_gradient,
        )

    def noisy_logits(self, x: Tensor, **draw: object) -> Tensor:
        """The logits of a fresh chip of this step; keywords as for `chip`.

        Args:
            x: inputs [batch, …].
            draw: keywords of `chip`.

        Returns:
            [batch, classes].
        """
        return self.runner.logits(self.chip(**draw), x)  # type: ignore[arg-type]

    def logits_with_exits(
        self, x: Tensor, *, exit_hardware: Hardware | None = None
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
        return backbone, self.exits.logits(taps, chip=chip)

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


def _shares(x: Tensor, y: Tensor, chips: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch in as many parts as there are chips, each of at least two examples, which batch norm needs."""
    parts = max(1, min(chips, len(y) // 2))
    yield from zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)
