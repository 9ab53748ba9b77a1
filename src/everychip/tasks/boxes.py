"""Boxes: how far they overlap, which of many stand for one object, and how precise the rest is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def overlap(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Intersection over union of boxes (x0, y0, x1, y1), 0 … 1; of two empty boxes 0.

    Args:
        a, b: boxes whose shapes broadcast.

    Returns:
        IoU.

    >>> overlap(torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2]))
    tensor(0.3333)
    """
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) for one in (a, b)]
    union = areas[0] + areas[1] - both
    return torch.where(union > 0, both / union.clamp(min=1e-12), torch.zeros_like(union))


def strongest(
    scores: Float[Tensor, "n p"],
    labels: Int[Tensor, "n p"],
    boxes: Float[Tensor, "n p 4"],
    *,
    most: int,
    iou: float,
) -> Int[Tensor, "n most"]:
    """Greedy suppression, all images at once: the strongest box stays, those of its class that overlap it go.

    Args:
        scores: of every candidate; 0 or less is none.
        labels: its class.
        boxes: its box.
        most: how many are kept of an image.
        iou: an overlap of more than this is the same object.

    Returns:
        Indices in descending order of score; −1 where there is none left.
    """
    left, rows, kept = scores.clone(), torch.arange(len(scores), device=scores.device), []
    for _ in range(most):
        best, index = left.max(1)
        kept.append(torch.where(best > 0, index, torch.full_like(index, -1)))
        same = labels == labels[rows, index][:, None]
        near = overlap(boxes, boxes[rows, index][:, None]) > iou
        left = left.masked_fill(same & near, 0.0)
        left[rows, index] = 0.0
    return torch.stack(kept, dim=1)


def average_precision(scores: Float[Tensor, " found"], right: Bool[Tensor, " found"], objects: int) -> float:
    """The area under the precision-recall curve, precision made to fall with recall.

    AP = Σ_k (r_k − r_{k−1}) · max_{j ≥ k} p_j over the detections in descending order of score.

    Args:
        scores: of all detections of a class, in any order.
        right: whether each matched an object that no stronger one had matched.
        objects: how many there are.

    Returns:
        0 … 1.

    torchmetrics has COCO's, at 101 points of recall, and needs torchvision or pycocotools for it; `score=` of
    `evaluate` takes it where they are installed.

    Source: Everingham et al., The PASCAL VOC challenge 2007–2012, IJCV 2015 (all points).

    >>> average_precision(torch.tensor([0.9, 0.8]), torch.tensor([True, False]), 2)
    0.5
    """
    if not len(scores):
        return 0.0
    order = scores.argsort(descending=True, stable=True)
    hits = right[order].double().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1, dtype=torch.float64)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    steps = torch.diff(hits / objects, prepend=torch.zeros(1, dtype=torch.float64))
    return float((steps * envelope).sum())


def matched(
    found: Sequence[Tensor], labels: Sequence[int], objects: Tensor, classes: Tensor, *, iou: float
) -> list[bool]:
    """Which detections of one image, the strongest first, are objects that no stronger one has taken.

    Args:
        found: boxes [4].
        labels: their classes.
        objects: the image's boxes [k, 4].
        classes: theirs [k].
        iou: the least overlap.

    Returns:
        One answer a detection.
    """
    free, answers = torch.ones(len(objects), dtype=torch.bool), []
    for box, label in zip(found, labels, strict=True):
        share = (
            overlap(box, objects).masked_fill(~free | (classes != label), 0.0) if len(objects) else box[:0]
        )
        hit = bool(len(objects)) and float(share.max()) >= iou
        if hit:
            free[int(share.argmax())] = False
        answers.append(hit)
    return answers
