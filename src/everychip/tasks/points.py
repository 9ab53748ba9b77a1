"""A detector that answers at every point: what each point should say, its loss, and the boxes it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from everychip.tasks.boxes import overlap, strongest

RARE = math.log(99)
ALPHA, GAMMA = 0.25, 2.0
"""The weight of objects and the focus of the focal loss, as published."""


@dataclass(frozen=True)
class Points:
    """The points of a feature map [h, w], `stride` pixels apart, and the classes they choose among.

    Outputs are [n, classes + 4, h, w]: a logit for each class, then the distances to the left, upper, right
    and lower side, softplus of the number in units of the stride.
    """

    classes: int
    stride: int = 1

    def centres(self, answer: Tensor) -> Tensor:
        """(x, y) of every point in pixels, [h·w, 2]."""
        height, width = answer.shape[-2:]
        x = (torch.arange(width, device=answer.device) + 0.5) * self.stride
        y = (torch.arange(height, device=answer.device) + 0.5) * self.stride
        return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)

    def boxes(self, answer: Tensor) -> Tensor:
        """The box that every point draws around itself, [n, h·w, 4] in pixels."""
        sides = F.softplus(answer[:, self.classes :].flatten(2).transpose(1, 2)) * self.stride
        centres = self.centres(answer)
        return torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=-1)

    def logits(self, answer: Tensor) -> Tensor:
        """[n, h·w, classes]; an output of 0 stands for an object in one of a hundred points."""
        return answer[:, : self.classes].flatten(2).transpose(1, 2) - RARE

    def wanted(self, answer: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """What every point should say: the smallest box that it is in the inner half of, and its class.

        Args:
            answer: outputs, for their shape.
            targets: "boxes" [k, 4] in pixels and "labels" [k] of each image.

        Returns:
            Classes [n, h·w], −1 where there is no object, and boxes [n, h·w, 4].
        """
        centres = self.centres(answer)
        labels = torch.full((len(targets), len(centres)), -1, dtype=torch.long, device=answer.device)
        boxes = torch.zeros((len(targets), len(centres), 4), device=answer.device)
        for n, target in enumerate(targets):
            own = target["boxes"].float()
            # The largest first, so that the smallest has the last word.
            for k in (own[:, 2:] - own[:, :2]).prod(1).argsort(descending=True).tolist():
                middle, half = (own[k, :2] + own[k, 2:]) / 2, (own[k, 2:] - own[k, :2]) / 4
                inside = ((centres - middle).abs() <= half).all(1)
                labels[n, inside], boxes[n, inside] = target["labels"][k].long(), own[k]
        return labels, boxes

    def loss(self, answer: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Focal loss of the classes and 1 − IoU of the boxes, over the number of points on an object."""
        labels, boxes = self.wanted(answer, targets)
        here = labels >= 0
        count = here.sum().clamp(min=1)
        goal = F.one_hot(labels.clamp(min=0), self.classes).float() * here[..., None]
        logits = self.logits(answer).float()
        plain = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
        wrong = torch.where(goal > 0, 1 - logits.sigmoid(), logits.sigmoid())
        weight = torch.where(goal > 0, ALPHA, 1 - ALPHA) * wrong**GAMMA
        apart = 1 - overlap(self.boxes(answer).float()[here], boxes[here])
        return (weight * plain).sum() / count + apart.sum() / count

    def found(self, answer: Tensor, *, most: int, least: float, same: float) -> list[dict[str, Tensor]]:
        """Of each image "boxes" [k, 4], "labels" [k] and "scores" [k], the strongest first."""
        scores, labels = self.logits(answer).float().sigmoid().nan_to_num(0.0).max(-1)
        boxes = self.boxes(answer).float().nan_to_num(0.0, 0.0, 0.0)
        candidates = torch.where(scores >= least, scores, torch.zeros_like(scores))
        index = strongest(candidates, labels, boxes, most=most, iou=same)
        return [
            {"boxes": boxes[n, row], "labels": labels[n, row], "scores": scores[n, row]}
            for n, row in enumerate(one[one >= 0] for one in index)
        ]
