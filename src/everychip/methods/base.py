"""What every method is: a training objective that is bound to a model and its hardware."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from everychip.config.arguments import index, takes
from everychip.config.component import Component
from everychip.config.registering import Before
from everychip.config.validation import must_be
from everychip.data.inputs import Inputs
from everychip.errors import ConfigError
from everychip.exits import Exits, multi_exit
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.chip import NoiseGradient
from everychip.hardware.hardware import Hardware
from everychip.methods.constraints import Constraint
from everychip.methods.learned import LearnedInputs, LearnedScales
from everychip.methods.losses import cross_entropy
from everychip.methods.objective import Objective as Objective  # noqa: PLC0414 (methods take it from here)
from everychip.network.running import Runner
from everychip.tasks import Task

Role = Literal["baseline", "control", "method"]
"""A baseline is what everybody does; a control exists only to test a claim of a method."""


class Method(Component, family="method"):
    """A training objective from one paper. What follows composes with every one of them.

    constraint: what the crossbar's weights are brought back to after each step. ramp: the share of training
    over which the noise grows linearly from 0 to its full strength; 0 or absent: at once. noise_gradient:
    what backward sees of the noise (see `program_weights`). Where a method trains without noise, these two
    change nothing, but a ramp still asks for the length of training. last_layer_gain: a factor on the last
    matrix of the crossbar that is trained, at the start of training: the last that a forward of `bind`'s
    sample multiplies by, or without a sample the last that the model defines. label_smoothing: of every
    cross-entropy. chips: how many chips share each batch, each with a part of it; absent, one. The gradient
    then is the mean over as many chips, at the cost of their sampling only. exit_loss: λ of a network whose
    exits stay (`everychip.MultiExit`): its exits' own losses are added, λ·mean_n CE(z_n, y). inputs, scales:
    the full scales of the DACs and of the weights are trained, too (`LearnedInputs`, `LearnedScales`).
    """

    example: ClassVar[str] = '{ kind = "noise_injection" }'

    constraint: Constraint | None = None
    ramp: Annotated[float, Field(ge=0, le=1)] | None = None
    noise_gradient: NoiseGradient = "detached"
    last_layer_gain: Annotated[float, Field(gt=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    chips: Annotated[int, Field(ge=1)] | None = None
    exit_loss: Annotated[float, Field(ge=0), Before(0.0)] = 0.0
    inputs: LearnedInputs | None = None
    scales: LearnedScales | None = None

    role: ClassVar[Role] = "method"
    """What the method is in a comparison; a report orders by it."""

    controls: ClassVar[tuple[str, ...]] = ("noise_injection", "temperature")
    """The kinds that a report compares the method with; `temperature` only where the loss rescales logits."""

    claim_control: ClassVar[str] = ""
    """The one of its controls that tests what it claims; a report's first lines name the difference."""

    as_control: ClassVar[str] = ""
    """What it has of the methods that are compared with it, as a report says it after "is" or "has"."""

    colour: ClassVar[str] = ""
    """Its own colour in every chart, as #rrggbb; without one, the next that is free."""

    own: ClassVar[bool] = False
    """Whether it is this project's own and no paper's."""
    noisy: ClassVar[bool] = True
    """Whether training includes the device's noise at all."""

    forwards: ClassVar[float] = 1.0
    """The cost of a training step, in forward passes (each with its backward) of the backbone."""

    loss_forward: ClassVar[int] = 0
    """Which of a step's forwards with a gradient the exits' own losses are of, where exits stay."""

    any_task: ClassVar[bool] = False
    """Whether the method trains by `Objective.criterion`, any task's loss, or by logits and class labels."""

    needs_logits: ClassVar[bool] = False
    """Whether the method rescales logits, which predictions with a scale of their own are not."""

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
    def loss(self, objective: Objective, x: Inputs, y: Any) -> Tensor:
        """The loss of one batch, through the objective's chips.

        Args:
            objective: the method bound to its model.
            x: inputs [batch, …].
            y: labels [batch], or what the task's loss takes.

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

    def dense_exits(self, model: nn.Module, sample: Inputs, *, seed: int, axis: int) -> Exits | None:
        """The internal classifiers of a model that answers at every place.

        Args:
            model: the network, any `nn.Module`; it is left as it is.
            sample: a batch of at least two inputs.
            seed: of all draws, a whole number.
            axis: of the classes in its output, 1 or −1.

        Returns:
            The exits, or None.
        """
        return None

    @takes(model=MODEL, hardware=HARDWARE, seed=index)
    def bind(
        self,
        model: nn.Module,
        hardware: Hardware,
        *,
        seed: int = 0,
        sample: Inputs | None = None,
        steps: int | None = None,
        task: Task | Mapping[str, Any] | str = "classification",
    ) -> Objective:
        """The objective for one model: `loss = objective(x, y)`, then `objective.after_step()`.

        Args:
            model: the network that is trained; any `nn.Module`.
            hardware: what the chips of training are.
            seed: of all draws, a whole number.
            sample: a batch of at least two inputs, which sizes the exits of the methods that have them and
                tells which matrix is the last.
            steps: the length of training in steps, at least 1, which a ramp, a distillation's teacher and
                `Resilient.renorm_after` are shares of.
            task: the network's task (`everychip.tasks`), whose loss it is trained by.

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
        asked = Task.parse(task)
        self._must_train(asked)
        method = self.resolved(hardware)
        method.validate_for(hardware, sample)
        if self.exit_loss:
            multi_exit(model, where="method.exit_loss")
        sample = None if sample is None else Runner(model).typed(sample)
        exits = None if sample is None else _exits(method, model, sample, seed=seed, axis=asked.class_axis)
        teacher = method.teacher_of(model)
        objective = Objective(
            method, model, hardware, seed=seed, exits=exits, steps=steps, sample=sample, task=asked
        )
        if teacher is not None:
            objective.teacher = teacher
        method.prepare(objective)
        return objective

    def _must_train(self, task: Task) -> None:
        """Refuse a task that the method's equation has no meaning for."""
        if task.kind != "classification" and not self.any_task:
            raise ConfigError(
                f"method {self.kind}",
                found=f"the task {task.kind}",
                expected="classification: this method is defined on logits and class labels",
                remedy="a method of any task: noise_injection, irs, ovf, resilient",
            )
        if self.needs_logits and task.has_scale:
            raise ConfigError(
                f"method {self.kind}",
                found=f"the task {task.kind}, whose answers have a scale of their own",
                expected="logits, which can be divided: classification, multilabel, segmentation, tokens",
                remedy="noise_injection, which is the same method without the division",
            )
        if self.label_smoothing and not task.smooths:
            found = f"{self.label_smoothing:g} for the task {task.kind}, which has no classes"
            raise ConfigError("method.label_smoothing", found=found, expected="0")

    def teacher_of(self, model: nn.Module) -> nn.Module | None:
        """A frozen copy of the network as it is before gain and constraint, where the method needs one.

        Args:
            model: the network, any `nn.Module`; it is left as it is.

        Returns:
            The copy, or None.
        """
        return None

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


def _exits(method: Method, model: nn.Module, sample: Inputs, *, seed: int, axis: int | None) -> Exits | None:
    if axis is None:
        return method.exits(model, sample, seed=seed)
    return method.dense_exits(model, sample, seed=seed, axis=axis)
