"""Multi-label classification: any number of labels for each input."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from everychip.scores import Score
from everychip.tasks.base import Task, full, refuse_shapes
from everychip.tasks.divergence import divergence_of_labels


class Multilabel(Task):
    """Each of L labels is true or not, of each input by itself: logits [n, L], targets [n, L] of 0 and 1.

    Loss: binary cross-entropy of the logits, mean over all. Scores, of labels at or above `threshold`: F1
    (the mean over the labels), accuracy (of all single labels), exact match (of all labels of an input), each
    a share.
    A network of one logit is a binary one: outputs [n] or [n, 1]. Logits that are NaN count as wrong. Chance
    is the better of all labels and none.

    threshold: the probability from which a label counts as true.

    Source: torchmetrics' MultilabelF1Score, MultilabelAccuracy and MultilabelExactMatch.

    >>> task = Multilabel()
    >>> meter = task.meter()
    >>> meter.update(torch.tensor([[3.0, -3.0], [2.0, 2.0]]), torch.tensor([[1, 0], [1, 0]]))
    >>> meter.compute()
    {'F1': 0.5, 'accuracy': 0.75, 'exact match': 0.5}
    """

    threshold: float = Field(default=0.5, gt=0, lt=1)

    scores: ClassVar[tuple[Score, ...]] = tuple(
        Score(name, within=(0.0, 1.0), unit="%") for name in ("F1", "accuracy", "exact match")
    )
    smooths: ClassVar[bool] = True

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """As many targets as logits, each 0 or 1."""
        expected = "targets [n, labels] for logits [n, labels], each 0 or 1"
        if not isinstance(y, Tensor) or _columns(answer).shape != _columns(y).shape:
            raise refuse_shapes(answer, y, expected=expected)
        y = y if every is None else every
        if not bool(((y == 0) | (y == 1)).all()):
            low, high = float(y.min()), float(y.max())
            raise refuse_shapes(answer, y, expected=f"{expected}, not {low:g} … {high:g}")

    def loss(self, answer: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy; smoothing draws every target to ½."""
        z = _columns(answer)
        z = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        target = _columns(y).to(z.dtype)
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(z, target)

    def divergence(self, true: Tensor, other: Tensor, y: Any = None, *, temperature: float = 1.0) -> Tensor:
        """KL of each label by itself."""
        return divergence_of_labels(_columns(true), _columns(other), temperature=temperature)

    def meter(self) -> _Shares:
        """Counts of right and wrong labels."""
        return _Shares(self.threshold)

    def chance(self, y: Tensor) -> float:
        """The score of saying always all labels, or none, whichever is better."""
        found = []
        for constant in (-1.0, 1.0):
            meter = self.meter()
            meter.update(torch.full(_columns(y).shape, constant), y)
            found.append(meter.compute()[self.headline.name])
        return max(found)

    def outputs(self, y: Tensor) -> int:
        """The number of labels."""
        return _columns(y).shape[1]


class _Shares:
    def __init__(self, threshold: float) -> None:
        self.threshold, self.metrics = threshold, {}  # type: ignore[var-annotated]

    def update(self, answer: Tensor, y: Tensor) -> None:
        z, target = _columns(full(answer)).cpu(), _columns(y).cpu().long()
        # A logit that is no number is a wrong answer.
        z = torch.where(z.isnan(), torch.where(target == 1, -torch.inf, torch.inf), z)
        if not self.metrics:
            self.metrics = _metrics(target.shape[1], self.threshold)
        for metric in self.metrics.values():
            metric.update(z.sigmoid(), target)

    def compute(self) -> dict[str, float]:
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}


def _metrics(labels: int, threshold: float) -> dict[str, Any]:
    from torchmetrics import classification as known

    if labels == 1:
        binary: dict[str, Any] = {"threshold": threshold}
        accuracy = known.BinaryAccuracy(**binary)
        return {"F1": known.BinaryF1Score(**binary), "accuracy": accuracy, "exact match": accuracy.clone()}
    several: dict[str, Any] = {"num_labels": labels, "threshold": threshold}
    return {
        "F1": known.MultilabelF1Score(**several, average="macro"),
        "accuracy": known.MultilabelAccuracy(**several, average="micro"),
        "exact match": known.MultilabelExactMatch(**several),
    }


def _columns(values: Tensor) -> Tensor:
    """[n, labels], also where there is one label and no axis for it."""
    return values.reshape(len(values), -1)
