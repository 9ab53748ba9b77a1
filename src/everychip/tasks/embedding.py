"""Embedding: vectors that keep their neighbours; against the digital network's, or by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from everychip.data import Examples, as_examples
from everychip.data.inputs import shape_of
from everychip.errors import DataError
from everychip.network.running import Runner
from everychip.scores import Score
from everychip.tasks.base import Task, full, refuse_shapes
from everychip.tasks.counting import count_right

VECTORS, LABELS, RECALL = "vectors", "labels", "recall"
_BLOCK = 1024


class Embedding(Task):
    """A vector for each input, [n, d], compared with the digital network's own on the same inputs.

    retrieval: the share of inputs whose digital vector is among the `top` nearest, by cosine, of all digital
    vectors to the chip's. cosine: the mean of u·v / (|u|·|v|) of an input's two vectors. Neither of the
    two reads labels. recall (Recall@1): the share of inputs whose nearest other vector of the same chip bears
    their label; it is measured where it is judged, `score = "recall"`. Vectors that are no finite numbers are
    far from all. Of outputs [n, t, d] the mean over all t is taken, padding included.

    Training needs class labels, or vectors as targets. With labels the loss is supervised contrastive,
    L = −mean_i mean_{p ∈ P(i)} log(exp(u_i·u_p/τ) / Σ_{a ≠ i} exp(u_i·u_a/τ)), u the vectors at length 1 and
    P(i) the others of i's label in the batch; with vectors v it is 1 − mean_i cos(u_i, v_i).

    top: how many neighbours are looked at. temperature: τ.

    Source: Khosla et al., Supervised contrastive learning, NeurIPS 2020, eq. 2.

    >>> meter = Embedding().meter()
    >>> v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> meter.update(v * 2, {"vectors": v})
    >>> meter.compute()["retrieval"], round(meter.compute()["cosine"], 6)
    (1.0, 1.0)
    """

    top: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.1, gt=0)

    scores: ClassVar[tuple[Score, ...]] = (
        Score("retrieval", within=(0.0, 1.0), unit="%"),
        Score("cosine", within=(-1.0, 1.0)),
        Score(RECALL, within=(0.0, 1.0), unit="%"),
    )

    @property
    def relative(self) -> bool:
        """Whether a chip is judged by the digital network's own vectors."""
        return self.headline.name != RECALL

    def answer(self, output: Any) -> Any:
        """The vectors: the output itself, or of a sequence's the mean."""
        vectors = super().answer(output)
        return vectors.mean(1) if vectors.ndim == 3 else vectors.flatten(1)

    def examples(self, data: Any, *, split: str | None) -> Examples:
        """Inputs, with labels where they are looked at: in training, and where recall is judged."""
        needed = split == "train" or not self.relative
        found = as_examples(data, split=split, labelled=needed)
        return found if needed else Examples(found.x)

    def prepared(self, runner: Runner, data: Examples) -> Examples:
        """The inputs with the digital network's vectors as targets, and labels if these are judged by."""
        labels = {} if self.relative else {LABELS: _labels(data.y, where="y")}
        kept: list[Tensor] = []
        runner.each({}, Examples(data.x), lambda output, _: kept.append(full(self.answer(output)).cpu()))
        return Examples(data.x, {VECTORS: torch.cat(kept), **labels})

    def measure(self, runner: Runner, chip: Mapping[str, Tensor], data: Examples) -> dict[str, float]:
        """The scores of one chip, of examples that are prepared or not."""
        ready = data if isinstance(data.y, Mapping) else self.prepared(runner, data)
        return super().measure(runner, chip, ready)

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """One vector for each input."""
        if answer.ndim != 2:
            raise refuse_shapes(answer, y, expected="one vector for each input, [n, d]")

    def loss(self, answer: Tensor, y: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """Supervised contrastive where y are class labels [n], 1 − cosine where they are vectors [n, d]."""
        if isinstance(y, Mapping):  # of prepared examples
            y = y.get(LABELS, y[VECTORS])
        if isinstance(y, Tensor) and y.is_floating_point() and y.shape == answer.shape:
            return 1 - F.cosine_similarity(answer.float(), y.float(), dim=1).mean()
        return contrastive(answer.float(), _labels(y, where="y"), temperature=self.temperature)

    def chance(self, y: Any) -> float | None:
        """Of recall: that any other input bears the same label, Σ_c p_c²."""
        if self.relative or not isinstance(y, Tensor) or y.is_floating_point():
            return None
        return float((torch.bincount(y.long().flatten()).double() / y.numel()).square().sum())

    def meter(self) -> _Neighbours:
        """The vectors of chip and digital network."""
        return _Neighbours(self.top)


def contrastive(vectors: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """The supervised contrastive loss of a batch; inputs without another of their label do not count.

    Args:
        vectors: [n, d], of any length.
        labels: class numbers [n].
        temperature: τ > 0.

    Returns:
        A scalar; 0 where no two labels are alike.
    """
    u = F.normalize(vectors, dim=1)
    self_ = torch.eye(len(u), dtype=torch.bool, device=u.device)
    logits = (u @ u.T / temperature).masked_fill(self_, -torch.inf)
    alike = (labels[:, None] == labels[None, :]) & ~self_
    counts = alike.sum(1)
    terms = logits.log_softmax(1).masked_fill(~alike, 0.0).sum(1) / counts.clamp(min=1)
    return -terms.sum() / (counts > 0).sum().clamp(min=1)


def _labels(y: Any, *, where: str) -> Tensor:
    """Class numbers [n], or a refusal that says what else a training could have."""
    if isinstance(y, Tensor) and y.ndim == 1 and not (y.is_floating_point() or y.is_complex()):
        return y
    found = "no labels" if y is None else f"targets {shape_of(y)}"
    raise DataError(where, found=found, expected="class numbers [n], or in training vectors like the outputs")


class _Neighbours:
    def __init__(self, top: int) -> None:
        self.top = top
        self.chip: list[Tensor] = []
        self.digital: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, answer: Tensor, y: Mapping[str, Tensor]) -> None:
        self.chip.append(_unit(full(answer).cpu().double()).float())
        self.digital.append(_unit(y[VECTORS].cpu().double()).float())
        if LABELS in y:
            self.labels.append(y[LABELS].cpu())

    def compute(self) -> dict[str, float]:
        mine, theirs = torch.cat(self.chip), torch.cat(self.digital)
        own = (mine.double() * theirs.double()).sum(1)
        hits = 0
        for start in range(0, len(mine), _BLOCK):
            block = own[start : start + _BLOCK]
            closer = (mine[start : start + _BLOCK] @ theirs.T > block[:, None] + 1e-6).sum(1)
            sound = mine[start : start + _BLOCK].any(1)
            hits += int(((closer < self.top) & sound).sum())
        known = {"retrieval": hits / len(mine), "cosine": float(own.mean().clamp(-1, 1))}
        return known | ({RECALL: _recall(mine, torch.cat(self.labels))} if self.labels else {})


def _recall(vectors: Tensor, labels: Tensor) -> float:
    """The share of vectors whose nearest other one bears the same label; of a vector of zeros, none does."""
    hits = 0
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        alike = block @ vectors.T
        rows = torch.arange(len(block))
        alike[rows, start + rows] = -torch.inf
        wanted = labels[start : start + _BLOCK]
        said = labels[alike.argmax(1)]
        hits += count_right(torch.where(block.any(1), said, wanted + 1), wanted)
    return hits / len(vectors)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; of those that are no finite numbers or zero, zero."""
    length = vectors.norm(dim=1, keepdim=True)
    sound = length.isfinite() & (length > 0)
    return torch.where(sound, vectors / torch.where(sound, length, torch.ones_like(length)), 0.0)
