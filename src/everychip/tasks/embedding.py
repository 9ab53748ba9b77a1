"""Embedding: vectors that keep their neighbours; measured against the digital network, without labels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.data import Examples, as_examples
from everychip.errors import ConfigError
from everychip.network.running import Runner
from everychip.scores import Score
from everychip.tasks.base import Task, full, refuse_shapes

_BLOCK = 1024


class Embedding(Task):
    """A vector for each input, [n, d], compared with the digital network's own on the same inputs.

    retrieval: the share of inputs whose digital vector is among the `top` nearest, by cosine, of all digital
    vectors to the chip's. cosine: the mean of u·v / (|u|·|v|) of an input's two vectors. No labels are
    needed, and labels are not read. Vectors that are no finite numbers are far from all. Of outputs [n, t, d]
    the mean over all t is taken, padding included.

    top: how many neighbours are looked at.

    >>> meter = Embedding().meter()
    >>> v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> meter.update(v * 2, v)
    >>> meter.compute()["retrieval"], round(meter.compute()["cosine"], 6)
    (1.0, 1.0)
    """

    top: int = Field(default=1, ge=1)

    scores: ClassVar[tuple[Score, ...]] = (
        Score("retrieval", within=(0.0, 1.0), unit="%"),
        Score("cosine", within=(-1.0, 1.0)),
    )

    def answer(self, output: Any) -> Any:
        """The vectors: the output itself, or of a sequence's the mean."""
        vectors = super().answer(output)
        return vectors.mean(1) if vectors.ndim == 3 else vectors.flatten(1)

    def examples(self, data: Any, *, split: str | None) -> Examples:
        """Inputs, with or without labels."""
        return Examples(as_examples(data, split=split, labelled=False).x)

    def prepared(self, runner: Runner, data: Examples) -> Examples:
        """The inputs with the digital network's vectors as their targets."""
        kept: list[Tensor] = []
        runner.each({}, Examples(data.x), lambda output, _: kept.append(full(self.answer(output)).cpu()))
        return Examples(data.x, torch.cat(kept))

    def validate_for(self, answer: Any, y: Any, *, every: Any = None) -> None:
        """One vector for each input."""
        if answer.ndim != 2:
            raise refuse_shapes(answer, y, expected="one vector for each input, [n, d]")

    def loss(self, answer: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Refused: the digital network is the reference, and training would move it."""
        raise ConfigError(
            "task.embedding",
            found="a training",
            expected="an evaluation: the task has no loss of its own",
            remedy='task="regression" with the vectors of the digital network as targets',
        )

    def meter(self) -> _Neighbours:
        """The vectors of chip and digital network."""
        return _Neighbours(self.top)


class _Neighbours:
    def __init__(self, top: int) -> None:
        self.top = top
        self.chip: list[Tensor] = []
        self.digital: list[Tensor] = []

    def update(self, answer: Tensor, y: Tensor) -> None:
        self.chip.append(_unit(full(answer).cpu().double()).float())
        self.digital.append(_unit(y.cpu().double()).float())

    def compute(self) -> dict[str, float]:
        mine, theirs = torch.cat(self.chip), torch.cat(self.digital)
        own = (mine.double() * theirs.double()).sum(1)
        hits = 0
        for start in range(0, len(mine), _BLOCK):
            block = own[start : start + _BLOCK]
            closer = (mine[start : start + _BLOCK] @ theirs.T > block[:, None] + 1e-6).sum(1)
            sound = mine[start : start + _BLOCK].any(1)
            hits += int(((closer < self.top) & sound).sum())
        return {"retrieval": hits / len(mine), "cosine": float(own.mean().clamp(-1, 1))}


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; of those that are no finite numbers or zero, zero."""
    length = vectors.norm(dim=1, keepdim=True)
    sound = length.isfinite() & (length > 0)
    return torch.where(sound, vectors / torch.where(sound, length, torch.ones_like(length)), 0.0)
