"""What one chip did with a test set: pure functions from logits and labels to one number.

A row of logits whose softmax is not a number (NaN, +inf or all -inf: the chip overflowed) counts as the worst
answer there is: a wrong class, given with full confidence. So its accuracy is 0, its nll infinite, its Brier
score 2, its confidence 1, and no metric is ever NaN.

torchmetrics counts the right answers, of which broken rows are none: it takes the argmax of NaN for an answer
else. Its calibration error is not used, and a test holds ours to it: it sums in float32, closes a bin of
confidences below and not above, and has a bin of its own for those of exactly 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from everychip.config.validation import must_be
from everychip.errors import DataError
from everychip.tasks.counting import NO_CLASS, count_right

METRICS = ("accuracy", "nll", "brier", "ece", "confidence")


@dataclass(frozen=True)
class Answers:
    """The class that is said of each image, its label, and three numbers in float64.

    They are on the CPU, so that every machine adds them up alike.
    """

    said: Int[Tensor, "*chips images"]
    labels: Int[Tensor, "*chips images"]
    nll: Float[Tensor, "*chips images"]
    brier: Float[Tensor, "*chips images"]
    confidence: Float[Tensor, "*chips images"]

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """The answers of several batches as those of one."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts], dim=-1) for one in fields(cls)))

    def of_chips(self, chips: int) -> Answers:
        """Those of several chips to the same images, one chip after another, as [chips, images]."""
        return Answers(*(getattr(self, one.name).view(chips, -1) for one in fields(self)))

    @property
    def accuracy(self) -> float:
        """The share that is right."""
        return count_right(self.said, self.labels) / len(self.labels)


def accuracy(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """The share of images whose largest logit is the label's, 0 … 1.

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    0.5
    """
    return answers_of(logits, labels).accuracy


def nll(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """Mean negative log-likelihood, −(1/N) Σᵢ ln p_i(yᵢ), in nats.

    Infinite as soon as one label gets no probability at all.

    >>> round(nll(torch.zeros(3, 2), torch.tensor([0, 1, 0])), 6)
    0.693147
    """
    return _mean(answers_of(logits, labels).nll)


def brier(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """Brier score in its original form, (1/N) Σᵢ Σ_c (p_i(c) − [c = yᵢ])², 0 … 2.

    Source: Brier, Monthly Weather Review 78 (1950), eq. 2. Libraries that halve it print half of this number.

    >>> brier(torch.zeros(3, 2), torch.tensor([0, 1, 0]))
    0.5
    """
    return _mean(answers_of(logits, labels).brier)


def confidence(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """Mean probability of the predicted class, (1/N) Σᵢ max_c p_i(c), 1/classes … 1.

    >>> confidence(torch.zeros(3, 2), torch.tensor([0, 1, 0]))
    0.5
    """
    return _mean(answers_of(logits, labels).confidence)


def ece(
    logits: Float[Tensor, "images classes"],
    labels: Int[Tensor, " images"],
    *,
    bins: int = 15,
    equal_mass: bool = False,
) -> float:
    """Expected calibration error, Σ_b (n_b / N) · |accuracy of bin b − mean confidence of bin b|, 0 … 1.

    Bins of the confidence are ((b−1)/15, b/15], or with `equal_mass` lie between its 15-quantiles; equal
    confidences always share a bin, so the order of the images does not matter.

    Source: Guo et al., ICML 2017, eq. 3 (equal width); Nixon et al., CVPR workshops 2019 (equal mass).

    >>> round(ece(torch.tensor([[4.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 1])), 3)
    0.482
    """
    must_be(bins, "ece.bins", whole=True, least=1)
    return _ece(answers_of(logits, labels), bins=bins, equal_mass=equal_mass)


def per_chip(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> dict[str, float]:
    """Every metric of one chip by name: accuracy, nll, brier, ece (15 equal-width bins), confidence.

    >>> sorted(per_chip(torch.eye(3), torch.arange(3)))
    ['accuracy', 'brier', 'confidence', 'ece', 'nll']
    """
    return summary(answers_of(logits, labels))


def summary(answers: Answers) -> dict[str, float]:
    """Every metric by name, from the answers to all images."""
    return {
        "accuracy": answers.accuracy,
        "nll": _mean(answers.nll),
        "brier": _mean(answers.brier),
        "ece": _ece(answers, bins=15, equal_mass=False),
        "confidence": _mean(answers.confidence),
    }


def summaries(answers: Answers) -> list[dict[str, float]]:
    """The same of several chips, whose answers are [chips, images]."""
    images = answers.labels.shape[-1]
    right = [count_right(*both) for both in zip(answers.said, answers.labels, strict=True)]
    columns = {
        "accuracy": [number / images for number in right],
        "nll": answers.nll.mean(dim=-1).tolist(),
        "brier": answers.brier.mean(dim=-1).tolist(),
        "ece": _gap(answers, _equal_widths(15)).tolist(),
        "confidence": answers.confidence.mean(dim=-1).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def answers_of(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> Answers:
    """What a chip answered to each image, without the logits."""
    logits, labels = _checked(logits, labels)
    log_p = logits.log_softmax(dim=1)
    broken = log_p.isnan().any(dim=1)
    p = log_p.exp()
    of_label = log_p.gather(1, labels[:, None])[:, 0]
    target = torch.nn.functional.one_hot(labels, logits.shape[1])
    return Answers(
        said=log_p.argmax(dim=1).masked_fill(broken, NO_CLASS).cpu(),
        labels=labels.cpu(),
        nll=(-of_label).masked_fill(broken, torch.inf).cpu().double(),
        brier=(p - target).square().sum(dim=1).masked_fill(broken, 2.0).cpu().double(),
        confidence=p.amax(dim=1).masked_fill(broken, 1.0).cpu().double(),
    )


def _checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or 0 in logits.shape:
        raise DataError(
            "metrics",
            found=f"logits {list(logits.shape)} and labels {list(labels.shape)}",
            expected="logits [images, classes] and labels [images], at least one image",
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError("metrics", found=f"labels of {labels.dtype}", expected="class numbers (int64)")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= logits.shape[1]:
        raise DataError(
            "metrics",
            found=f"labels {lowest} … {highest} beside {logits.shape[1]} logits",
            expected=f"labels 0 … {logits.shape[1] - 1}",
        )
    # Half precision has too few digits for a softmax that is to be summed over a test set.
    kept = logits if logits.dtype == torch.float64 else logits.float()
    return kept.detach(), labels.long().to(logits.device)


def _ece(answers: Answers, *, bins: int, equal_mass: bool) -> float:
    sure = answers.confidence
    if equal_mass:
        # "higher" keeps the edges on observed values, so a bin is closed by the image that fills it.
        ranks = torch.arange(1, bins) / bins
        edges = sure.sort().values[(ranks * len(sure)).ceil().long().clamp(min=1) - 1]
    else:
        edges = _equal_widths(bins)
    return float(_gap(answers.of_chips(1), edges)[0])


def _equal_widths(bins: int) -> Tensor:
    return torch.arange(1, bins, dtype=torch.float64) / bins


def _gap(answers: Answers, edges: Tensor) -> Float[Tensor, " chips"]:
    """Σ_b |Σ_{i in b} (right − sure)| / N of every chip, between these inner edges of the bins."""
    (chips, images), bins = answers.labels.shape, len(edges) + 1
    own = torch.bucketize(answers.confidence, edges) + bins * torch.arange(chips)[:, None]
    missed = (answers.said == answers.labels).double() - answers.confidence
    gap = torch.zeros(chips * bins, dtype=torch.float64).index_add_(0, own.flatten(), missed.flatten())
    return gap.view(chips, bins).abs().sum(dim=-1) / images


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
