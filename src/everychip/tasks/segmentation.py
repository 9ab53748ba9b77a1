"""Segmentation: a label at every place of an image, a signal or a volume."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from everychip.scores import Score
from everychip.tasks.base import Task, full, refuse_shapes
from everychip.tasks.divergence import divergence


class Segmentation(Task):
    """A label at every place: logits [n, classes, *places], labels [n, *places], of any number of axes.

    Loss: cross-entropy over all labelled places. Scores: mIoU = mean over classes of |A ∩ B| / |A ∪ B|, A the
    places of a class and B those that are said to be, and accuracy, the share of places that are right.
    Places whose logits are NaN are wrong. Chance is one class everywhere, the best of them.

    ignore: the label of places that count for nothing.

    Source: torchmetrics' MulticlassJaccardIndex and MulticlassAccuracy.

    >>> meter = Segmentation().meter()
    >>> z = torch.eye(2)[torch.tensor([[0, 1, 1]])].movedim(-1, 1)
    >>> meter.update(z, torch.tensor([[0, 1, 0]]))
    >>> {name: round(value, 3) for name, value in meter.compute().items()}
    {'mIoU': 0.5, 'accuracy': 0.667}
    """

    ignore: int = -100

    scores: ClassVar[tuple[Score, ...]] = tuple(
        Score(name, within=(0.0, 1.0), unit="%") for name in ("mIoU", "accuracy")
    )
    class_axis: ClassVar[int | None] = 1
    smooths: ClassVar[bool] = True

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """A label below the number of classes at every place of the logits."""
        expected = "labels [n, *places] for logits [n, classes, *places]"
        if not isinstance(y, Tensor) or answer.ndim < 3 or answer.shape[:1] + answer.shape[2:] != y.shape:
            one = isinstance(y, Tensor) and y.ndim == answer.ndim and y.shape[1] == 1
            remedy = "y.squeeze(1) leaves the channel out" if one else None
            raise refuse_shapes(answer, y, expected=expected, remedy=remedy)
        must_be_labels(y if every is None else every, answer.shape[1], ignore=self.ignore)

    def loss(self, answer: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy over the labelled places."""
        z = answer.float() if answer.dtype in (torch.bfloat16, torch.float16) else answer
        return F.cross_entropy(z, y.long(), ignore_index=self.ignore, label_smoothing=label_smoothing)

    def divergence(self, true: Tensor, other: Tensor, y: Any = None, *, temperature: float = 1.0) -> Tensor:
        """KL of the classes, the mean over the labelled places."""
        t, z = true.movedim(1, -1), other.movedim(1, -1)
        if y is not None:
            t, z = t[y != self.ignore], z[y != self.ignore]
        return divergence(t, z, temperature=temperature)

    def meter(self) -> _Overlap:
        """The confusion of the classes."""
        return _Overlap(self.ignore)

    def chance(self, y: Tensor) -> float:
        """The score of saying one class everywhere, the best of them."""
        labelled = y[y != self.ignore]
        counts = torch.bincount(labelled.reshape(-1).long()).double()
        # Saying class c everywhere: its IoU is its share, all others' are 0; absent ones do not count.
        share = float(counts.max() / counts.sum())
        return share / int((counts > 0).sum()) if self.headline.name == "mIoU" else share

    def outputs(self, y: Tensor) -> int:
        """The number of classes."""
        return int(y[y != self.ignore].max()) + 1


class _Overlap:
    def __init__(self, ignore: int) -> None:
        self.ignore, self.metrics = ignore, {}  # type: ignore[var-annotated]

    def update(self, answer: Tensor, y: Tensor) -> None:
        z, target = full(answer), y.long()
        classes = z.shape[1]
        wrong = (target + 1) % classes
        said = torch.where(z.isnan().any(1), wrong, z.argmax(1)).cpu()
        if not self.metrics:
            self.metrics = _metrics(classes, self.ignore)
        for metric in self.metrics.values():
            metric.update(said, target.cpu())

    def compute(self) -> dict[str, float]:
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}


def _metrics(classes: int, ignore: int) -> dict[str, Any]:
    from torchmetrics import classification as known

    shared: dict[str, Any] = {"num_classes": classes, "ignore_index": ignore}
    return {
        "mIoU": known.MulticlassJaccardIndex(**shared, average="macro"),
        "accuracy": known.MulticlassAccuracy(**shared, average="micro"),
    }


def must_be_labels(y: Tensor, classes: int, *, ignore: int) -> None:
    """Refuse labels that are no whole numbers of 0 … classes − 1, but for the one that counts for nothing."""
    from everychip.errors import DataError

    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        found = f"labels of type {str(y.dtype).removeprefix('torch.')}"
        raise DataError("y", found=found, expected="class numbers of an integer type", remedy="call y.long()")
    odd = (y != ignore) & ((y < 0) | (y >= classes))
    if bool(odd.any()):
        raise DataError(
            "y",
            found=f"label {int(y[odd][0])}",
            expected=f"labels below the model's {classes}, or {ignore} for places that count for nothing",
            remedy=f"ignore = {int(y[odd][0])}, if that is what it means",
        )
    if not bool((y != ignore).any()):
        raise DataError("y", found=f"nothing but {ignore}", expected="at least one label")
