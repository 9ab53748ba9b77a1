"""Detection: boxes of a detector, scored by a function of one's own or, of points, by average precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.errors import ConfigError, DataError, shown
from everychip.scores import Score
from everychip.tasks.base import Meter, Task, full, refuse_shapes
from everychip.tasks.boxes import average_precision, matched
from everychip.tasks.points import Points

_REMEDY = "evaluate(…, score=fn) with fn(predictions, targets), such as torchmetrics' MeanAveragePrecision"


class Detection(Task):
    """Whatever a detector puts out, unread: a dict of tensors, or a list with one dict for each image.

    So read, it has no score of its own, since none is common to all detectors: `evaluate(…, score=fn)` hands
    `fn` the outputs of all images, joined as they are, and their targets. It is not trained by `fit`, either:
    a detector's loss is its own, and goes into a loop around `Method.bind` or a method's subclass.

    With `classes`, outputs are those of a detector that answers at every point, [n, classes + 4, h, w]: a
    logit for each class, and the distances to the four sides of the box around the point, before softplus, in
    units of `stride` pixels. Targets are a list with one dict an image, "boxes" [k, 4] as x0, y0, x1, y1 in
    pixels and "labels" [k]. It is trained by focal loss and 1 − IoU and scored by mAP: the mean over classes
    of the average precision, a detection being right where it overlaps its object by `iou` or more.

    most: how many detections are kept of an image. least: the least score, 0 … 1.

    Source: Tian et al., FCOS, ICCV 2019 (points, without centre-ness); Lin et al., Focal loss, ICCV 2017.

    >>> Detection().headline.name, Detection(classes=10).headline.name
    ('score', 'mAP')
    """

    classes: int | None = Field(
        default=None,
        ge=1,
        description="How many a detector of points tells apart; absent, outputs are not read.",
    )
    stride: int = Field(default=1, ge=1, description="Pixels between two points.")
    iou: float = Field(default=0.5, gt=0, le=1, description="The least overlap of a detection that is right.")
    most: int = Field(default=10, ge=1, le=1000)
    least: float = Field(default=0.05, gt=0, lt=1)

    scores: ClassVar[tuple[Score, ...]] = (Score("score"), Score("mAP", within=(0.0, 1.0), unit="%"))

    @property
    def headline(self) -> Score:
        """mAP of a detector whose outputs are read."""
        return self.scores[self.classes is not None]

    @property
    def points(self) -> Points | None:
        """How outputs are read, where they are."""
        return None if self.classes is None else Points(self.classes, self.stride)

    def answer(self, output: Any) -> Any:
        """The output as it is, or of a detector of points its maps."""
        return output if self.classes is None else super().answer(output)

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """Of points [n, classes + 4, h, w] and a dict for each image; else anything will do."""
        if self.classes is None:
            return
        if answer.ndim != 4 or answer.shape[1] != self.classes + 4:
            expected = f"outputs [n, {self.classes} + 4, h, w]"
            raise refuse_shapes(answer, y, expected=expected)
        rows = every if every is not None else y
        for row in rows if isinstance(rows, list) else [None]:
            _must_be_boxes(row, self.classes)

    def loss(self, answer: Any, y: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """That of the points; of any other detector refused, for its loss is its own."""
        if self.points is None:
            raise _untrained()
        return self.points.loss(answer, y)

    def validate_for_training(self) -> None:
        """Only a detector of points is trained by the task's loss."""
        if self.points is None:
            raise _untrained()

    def meter(self) -> Meter:
        """Average precision of points; refused else: there is no score common to all detectors."""
        if self.points is not None:
            return _Precision(self, self.points)
        raise ConfigError("task.detection", found="no score", expected="a function", remedy=_REMEDY)


class _Precision:
    """Counts, class by class, which detections are right, and how many objects there are."""

    def __init__(self, task: Detection, points: Points) -> None:
        self.task, self.points = task, points
        self.scores: list[list[float]] = [[] for _ in range(points.classes)]
        self.right: list[list[bool]] = [[] for _ in range(points.classes)]
        self.objects = torch.zeros(points.classes, dtype=torch.long)

    def update(self, answer: Tensor, y: list[Mapping[str, Tensor]]) -> None:
        task = self.task
        found = self.points.found(full(answer).cpu(), most=task.most, least=task.least, same=task.iou)
        for image, target in zip(found, y, strict=True):
            boxes, classes = target["boxes"].float().cpu(), target["labels"].long().cpu()
            self.objects += torch.bincount(classes, minlength=self.points.classes)
            labels = image["labels"].tolist()
            answers = matched(list(image["boxes"]), labels, boxes, classes, iou=task.iou)
            for label, score, hit in zip(labels, image["scores"].tolist(), answers, strict=True):
                self.scores[label].append(score)
                self.right[label].append(hit)

    def compute(self) -> dict[str, float]:
        parts = [
            average_precision(torch.tensor(s, dtype=torch.float64), torch.tensor(r, dtype=torch.bool), int(n))
            for s, r, n in zip(self.scores, self.right, self.objects, strict=True)
            if n
        ]
        return {"mAP": sum(parts) / len(parts) if parts else 0.0}


def _untrained() -> ConfigError:
    return ConfigError(
        "task.detection",
        found="a training",
        expected="an evaluation: the task has no loss of its own",
        remedy="a loop of one's own with the detector's loss, on objective.chip()",
    )


def _must_be_boxes(row: Any, classes: int) -> None:
    """Refuse a target that is no dict of boxes and labels, or names a class that there is not."""
    expected = f"for each image a dict of boxes [k, 4] and labels [k], 0 … {classes - 1}"
    if not isinstance(row, Mapping) or not {"boxes", "labels"} <= set(row):
        raise DataError("y", found=shown(row), expected=expected)
    boxes, labels = row["boxes"], row["labels"]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        found = f"boxes {list(boxes.shape)} and labels {list(labels.shape)}"
        raise DataError("y", found=found, expected=expected)
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise DataError("y", found=f"labels {int(labels.min())} … {int(labels.max())}", expected=expected)
