"""Classification: one label for each input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from everychip.data import Examples, as_arrays
from everychip.errors import DataError, ModelError
from everychip.network.running import Runner
from everychip.scores import ACCURACY, Score
from everychip.tasks.base import Task
from everychip.tasks.divergence import divergence
from everychip.tasks.metrics import Answers, answers_of, summaries, summary


class Classification(Task):
    """One label of several for each input: logits [n, classes], labels [n], cross-entropy.

    Scores: accuracy, nll (nats), brier (0 … 2), ece and confidence. Chance is one of the classes.

    >>> Classification().headline.name
    'accuracy'
    """

    scores: ClassVar[tuple[Score, ...]] = (
        ACCURACY,
        Score("nll", higher_is_better=False, within=(0.0, float("inf")), unit="nats"),
        Score("brier", higher_is_better=False, within=(0.0, 2.0)),
        Score("ece", higher_is_better=False, within=(0.0, 1.0), unit="%"),
        Score("confidence", within=(0.0, 1.0), unit="%"),
    )
    smooths: ClassVar[bool] = True

    def examples(self, data: Any, *, split: str | None) -> Examples:
        """Inputs with class numbers."""
        return as_arrays(data, split=split)  # type: ignore[arg-type]

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """One row of logits for each input, and labels below their number."""
        if answer.ndim != 2 or answer.shape[0] != len(y):
            raise ModelError(
                "model output",
                found=f"an output of shape {list(answer.shape)} for {len(y)} inputs",
                expected=f"one row of logits per input, [{len(y)}, classes]",
                remedy='task="multilabel" for a network of one logit, "segmentation" or "tokens" for labels '
                "at every place",
            )
        if answer.shape[-1] == 1:
            raise ModelError(
                "model output",
                found="one logit for each input",
                expected="one for each class",
                remedy='task="multilabel", which takes a network of one logit and targets of 0 and 1',
            )
        highest = int((y if every is None else every).max())
        if highest >= answer.shape[-1]:
            raise DataError(
                "training data",
                found=f"label {highest}",
                expected=f"labels below the model's {answer.shape[-1]}",
            )

    def loss(self, answer: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy."""
        flat = answer.reshape(-1, answer.shape[-1])
        flat = flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat
        return F.cross_entropy(flat, y.reshape(-1), label_smoothing=label_smoothing)

    def divergence(self, true: Tensor, other: Tensor, y: Any = None, *, temperature: float = 1.0) -> Tensor:
        """KL of the classes."""
        return divergence(true, other, temperature=temperature)

    def measure(self, runner: Runner, chip: Mapping[str, Tensor], data: Examples) -> dict[str, float]:
        """The scores of one chip, its logits kept until all are there."""
        return summary(answers_of(runner.predict(chip, data).float(), data.y.reshape(-1)))

    def meter(self) -> _Kept:
        """A few numbers for each input, for data that is not in memory."""
        return _Kept()

    def together(self, chips: int) -> _KeptTogether:
        """The same numbers for several chips, in one call."""
        return _KeptTogether(self, chips)

    def chance(self, y: Tensor) -> float:
        """1 / classes."""
        return 1 / (int(y.max()) + 1)

    def outputs(self, y: Tensor) -> int:
        """The number of classes."""
        return int(y.max()) + 1


class _Kept:
    def __init__(self) -> None:
        self.parts: list[Answers] = []

    def update(self, answer: Tensor, y: Tensor) -> None:
        flat = answer.reshape(-1, answer.shape[-1])
        self.parts.append(answers_of(flat.float(), y.reshape(-1)))

    def compute(self) -> dict[str, float]:
        return summary(Answers.joined(self.parts))


class _KeptTogether:
    def __init__(self, task: Task, chips: int) -> None:
        self.task, self.chips = task, chips
        self.parts: list[Answers] = []

    def update(self, outputs: Any, y: Tensor) -> None:
        every = self.task.answer(outputs)[: self.chips]
        flat = every.reshape(-1, every.shape[-1])
        self.parts.append(answers_of(flat.float(), y.reshape(-1).repeat(self.chips)).of_chips(self.chips))

    def compute(self) -> list[dict[str, float]]:
        return summaries(Answers.joined(self.parts))
