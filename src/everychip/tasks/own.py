"""A score of one's own: a function of predictions and targets, or of a chip to be run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from everychip.data.inputs import Inputs, joined
from everychip.errors import ConfigError, DataError, EverychipError
from everychip.network.modes import evaluating
from everychip.network.running import Runner
from everychip.scores import Score, Within
from everychip.tasks.base import Task


def a_score(value: Any, where: str) -> None:
    """Refuse what is no function that judges chips, nor one that `scored_by` described.

    Args:
        value: what was given.
        where: what errors call it.
    """
    if not (callable(value) or isinstance(value, OwnScore)):
        raise ConfigError(
            where, found=f"a {type(value).__name__}", expected="a function fn(predictions, targets)"
        )


@dataclass(frozen=True)
class OwnScore:
    """A function that scores a chip, and how its number is read; `scored_by` makes one."""

    function: Callable[..., Any]
    score: Score
    runs: bool
    guessed: bool = False

    def measure(self, runner: Runner, chip: Mapping[str, Tensor], data: Any, task: Task) -> dict[str, float]:
        """The numbers of one chip.

        Args:
            runner: of the network.
            chip: programmed weights by name.
            data: the test data.
            task: how a batch is read.

        Returns:
            The numbers by name, the judged one first.
        """
        if self.runs:
            run = _Run(runner, chip)
            with torch.no_grad(), evaluating(runner.model):
                return self._named(self._called(run, data))
        answers: list[Any] = []
        targets: list[Any] = []

        def keep(output: Any, y: Any) -> None:
            answers.append(task.answer(output))
            targets.append(y)

        runner.each(chip, data, keep)
        y = None if data.y is None else joined(targets)
        return self._named(self._called(joined(answers), y))

    def _called(self, first: Any, second: Any) -> Any:
        """What the function gives; of an error that it raises, what it was called with is said beside it."""
        try:
            return self.function(first, second)
        except Exception as error:
            if self.guessed and not isinstance(error, EverychipError):
                error.add_note(_CALLED[self.runs])
            raise

    def _named(self, value: Any) -> dict[str, float]:
        reset = getattr(self.function, "reset", None)
        if callable(reset):  # a metric of torchmetrics keeps what it has been given
            reset()
        if not isinstance(value, Mapping):
            value = {self.score.name: value}
        if self.score.name not in value:
            raise ConfigError(
                "evaluate.score",
                found=f"scores {', '.join(map(str, value))}",
                expected=f"one called {self.score.name}",
                remedy="scored_by(fn, name=…) says which of several is judged",
            )
        return {str(name): _number(one, str(name)) for name, one in value.items()}


@dataclass(frozen=True)
class _Run:
    """A chip that can be called like its model."""

    runner: Runner
    chip: Mapping[str, Tensor]

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        x: Inputs = named or (inputs if len(inputs) != 1 else inputs[0])
        with self.runner.autocast():
            return self.runner.outputs(self.chip, self.runner.placed(x))


def scored_by(
    function: Any,
    *,
    name: str | None = None,
    higher_is_better: bool | None = None,
    within: Within | None = None,
    unit: str = "",
    runs: bool | None = None,
) -> OwnScore:
    """A function as the score of `evaluate`, with what its number means.

    Args:
        function: `fn(predictions, targets)`, of all inputs at once; or `fn(run, data)`, where `run(x)` is the
            chip's output and `data` what was handed to `evaluate`. It returns a number, or several by name. A
            metric of torchmetrics is one, too.
        name: what the judged number is called; absent, the function's name.
        higher_is_better: absent, what the function says of itself, as metrics of torchmetrics do, or else
            True.
        within: what the number cannot leave, such as (0, 1); None, nothing bounds it.
        unit: printed after it; "%" prints a hundred times the number.
        runs: True, the function gets (run, data); False, (predictions, targets); absent, it gets (run, data)
            if its first parameter is called `run`. Functions that show no parameters (`*args`, built in C)
            get (predictions, targets).

    Returns:
        What `evaluate(…, score=…)` takes.

    >>> def error(predictions, targets):
    ...     return (predictions - targets).abs().mean()
    >>> scored_by(error, higher_is_better=False, unit="K").score.unit
    'K'
    """
    if isinstance(function, OwnScore):
        return function
    if not callable(function):
        found = f"a {type(function).__name__}"
        raise ConfigError("evaluate.score", found=found, expected="a function fn(predictions, targets)")
    said = getattr(function, "higher_is_better", None)
    better = higher_is_better if higher_is_better is not None else True if said is None else bool(said)
    called = name or getattr(function, "__name__", None) or type(function).__name__
    takes_a_run = _takes_a_run(function) if runs is None else runs
    return OwnScore(function, Score(called, better, within, unit), takes_a_run, guessed=runs is None)


_CALLED = {
    True: "everychip called it with (run, data), run(x) being a chip's output, for its first parameter is "
    "called run; ec.tasks.scored_by(fn, runs=False) gives it (predictions, targets)",
    False: "everychip called it with (predictions, targets), for its first parameter is not called run; "
    "ec.tasks.scored_by(fn, runs=True) gives it (run, data), run(x) being a chip's output",
}


def _takes_a_run(function: Callable[..., Any]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters), "")
    except (TypeError, ValueError):
        return False
    return first == "run"


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        found = f"a {type(value).__name__} for {name}"
        raise DataError("evaluate.score", found=found, expected="a number") from None
    if math.isnan(number):
        raise DataError(
            "evaluate.score",
            found=f"NaN for {name}",
            expected="a number",
            remedy="let the function say what a chip that overflows is worth, such as 0",
        )
    return number
