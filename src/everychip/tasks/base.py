"""What every task is: a loss, the scores of a chip, what chance is, and which targets it takes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from everychip.config.component import Component
from everychip.data import Examples, as_examples
from everychip.errors import ConfigError, DataError, EverychipError, known_names
from everychip.network.outputs import logits
from everychip.network.running import Runner
from everychip.scores import Score
from everychip.tasks.together import OneByOne, Together


class Meter(Protocol):
    """Takes batches of answers and targets, and has the scores of them all in the end."""

    def update(self, answer: Any, y: Any) -> None:
        """Take in one batch.

        Args:
            answer: what `Task.answer` made of the model's output.
            y: the targets.
        """

    def compute(self) -> dict[str, float]:
        """Every score by its name, of all batches so far."""


class Task(Component, family="task"):
    """The network's task, and how its answers are scored.

    score: which of the task's scores is judged, by name; absent, the first one.
    """

    score: str | None = None

    scores: ClassVar[tuple[Score, ...]] = ()
    """Every score of a chip, the one that is judged unless another is named first."""

    class_axis: ClassVar[int | None] = None
    """Where the classes are in answers at several places: 1 or −1; None, there is one answer an input."""

    has_scale: ClassVar[bool] = False
    """Whether answers have a scale of their own, so that a multiple of them is another answer."""

    smooths: ClassVar[bool] = False
    """Whether the loss knows label smoothing."""

    @property
    def relative(self) -> bool:
        """Whether chips are judged by the digital network, whose own score then says nothing."""
        return False

    @property
    def headline(self) -> Score:
        """The score that is judged: what verdicts, comparisons and yields are about."""
        if self.score is None:
            return self.scores[0]
        found = next((one for one in self.scores if one.name == self.score), None)
        if found is None:
            names = known_names(self.score, [one.name for one in self.scores])
            raise ConfigError("task.score", found=f"unknown score {self.score!r}", remedy=names)
        return found

    def answer(self, output: Any) -> Any:
        """What of a model's output is scored: its logits.

        Args:
            output: what the model returned.

        Returns:
            A tensor [batch, …].
        """
        return logits(output)

    def examples(self, data: Any, *, split: str | None) -> Examples:
        """Anything that holds inputs and targets, as this task's examples.

        Args:
            data: in any form that `evaluate` takes.
            split: "train" or "test", of data that has both.

        Returns:
            Inputs and targets.
        """
        return as_examples(data, split=split)

    @abstractmethod
    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """Refuse targets that the answers for them cannot be compared with, and any that are out of range.

        Args:
            answer: what the model answers to a few inputs.
            y: their targets.
            every: all targets there are; absent, these few.
        """

    def validate_for_training(self) -> None:
        """Refuse a training before it begins, where the task has no loss of its own."""

    @abstractmethod
    def loss(self, answer: Any, y: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean loss of a batch, which a network of this task is trained by.

        Args:
            answer: logits [batch, …].
            y: targets.
            label_smoothing: the share of the target that all classes have in common, 0 … 1.

        Returns:
            A scalar.
        """

    def divergence(self, true: Any, other: Any, y: Any = None, *, temperature: float = 1.0) -> Tensor:
        """How far answers are from those of another network to the same inputs, the mean over what is asked.

        Of logits KL(true ‖ other) of what they are the logits of, both divided by T; of predictions with a
        scale of their own the mean squared error, whatever T.

        Args:
            true: the answers that are to be kept, of a teacher or of the clean network.
            other: those that are judged, in the same shape.
            y: targets, which say where nothing is asked; None, everything is.
            temperature: T, without unit.

        Returns:
            A scalar.
        """
        raise ConfigError(
            f"task.{self.kind}",
            found="no distance between the answers of two networks",
            expected="classification, multilabel, segmentation, tokens or regression",
        )

    @abstractmethod
    def meter(self) -> Meter:
        """What scores the batches of one chip."""

    def together(self, chips: int) -> Together:
        """What scores several chips that are run in one call.

        Args:
            chips: how many of them.

        Returns:
            Takes the batches of all, and has the scores of each.
        """
        meters = [self.meter() for _ in range(chips)]
        return OneByOne([(meter, self.updating(meter)) for meter in meters])

    def prepared(self, runner: Runner, data: Examples) -> Examples:
        """The examples as they are scored; a task without labels makes its own targets here.

        Args:
            runner: of the digital network.
            data: the examples.

        Returns:
            Examples with targets.
        """
        return data

    def measure(self, runner: Runner, chip: Mapping[str, Tensor], data: Examples) -> dict[str, float]:
        """The scores of one chip.

        Args:
            runner: of the network.
            chip: programmed weights by name; empty, the digital network.
            data: the test data.

        Returns:
            Every score by name.
        """
        meter = self.meter()
        runner.each(chip, data, self.updating(meter))
        return meter.compute()

    def updating(self, meter: Meter) -> Callable[[Any, Any], None]:
        """What hands a batch to a meter of this task; targets that the meter cannot take are refused.

        Args:
            meter: of this task.

        Returns:
            A function of a model's output and the targets, for `Runner.each`.
        """

        def take(output: Any, y: Any) -> None:
            answer = self.answer(output)
            try:
                meter.update(answer, y)
            except (RuntimeError, IndexError, ValueError) as error:
                if not isinstance(error, EverychipError):
                    self.validate_for(answer, y)  # a stream's batches are known when they come
                raise

        return take

    def chance(self, y: Any) -> float | None:
        """The judged score of the best answer that does not look at the input.

        Args:
            y: all targets.

        Returns:
            The score, or None where none is known.
        """
        return None

    def outputs(self, y: Any) -> int:
        """How many numbers a network answers with, each input or each place.

        Args:
            y: targets.

        Returns:
            The width of its last layer.
        """
        raise ConfigError(f"task.{self.kind}", found="no number of outputs", expected="a model that has one")


def refuse_shapes(answer: Any, y: Any, *, expected: str, remedy: str | None = None) -> DataError:
    """The line about targets of another shape than the answers need."""
    shapes = [list(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in (answer, y)]
    return DataError(
        "y", found=f"targets {shapes[1]} for outputs {shapes[0]}", expected=expected, remedy=remedy
    )


def full(answer: Tensor) -> Tensor:
    """Answers in at least float32, off the graph."""
    return answer.detach() if answer.dtype == torch.float64 else answer.detach().float()
