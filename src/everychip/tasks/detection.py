"""Detection: boxes in a dict or a list of them, scored by a function of one's own."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from everychip.errors import ConfigError
from everychip.scores import Score
from everychip.tasks.base import Meter, Task

_REMEDY = "evaluate(…, score=fn) with fn(predictions, targets), such as torchmetrics' MeanAveragePrecision"


class Detection(Task):
    """Whatever a detector puts out, unread: a dict of tensors, or a list with one dict for each image.

    It has no score of its own, since none is common to all detectors: `evaluate(…, score=fn)` hands `fn` the
    outputs of all images, joined as they are, and their targets. It is not trained by `fit`, either: a
    detector's loss is its own, and goes into a loop around `Method.bind` or a method's subclass.

    >>> Detection().headline.name
    'score'
    """

    scores: ClassVar[tuple[Score, ...]] = (Score("score"),)

    def answer(self, output: Any) -> Any:
        """The output as it is."""
        return output

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """Anything will do: the function that scores it knows what it needs."""

    def loss(self, answer: Any, y: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """Refused: a detector's loss is its own."""
        raise ConfigError(
            "task.detection",
            found="a training",
            expected="an evaluation: the task has no loss of its own",
            remedy="a loop of one's own with the detector's loss, on objective.chip()",
        )

    def meter(self) -> Meter:
        """Refused: there is no score common to all detectors."""
        raise ConfigError("task.detection", found="no score", expected="a function", remedy=_REMEDY)
