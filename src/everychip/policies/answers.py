"""What the exits of many chips answer on labelled inputs: what thresholds are chosen from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from everychip.data import Examples
from everychip.exits.multi_exit import NEVER, MultiExit, combine
from everychip.exits.outputs import predict_all_outputs, running_all_outputs
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.network.running import Runner


@dataclass(frozen=True)
class Answers:
    """What each chip's exits and combination answered on labelled inputs."""

    confidence: Float[Tensor, "chips exits images"]
    right: Bool[Tensor, "chips exits images"]
    agrees: Bool[Tensor, "chips exits images"]
    combined: Bool[Tensor, "chips images"]

    @classmethod
    @torch.no_grad()
    def of(cls, network: MultiExit, hardware: Hardware, data: Examples, *, chips: int, seed: int) -> Answers:
        """Program validation chips and record what their outputs say."""
        runner, placed = running_all_outputs(network), Placed.of(network, hardware)
        combination = network.combination.detach()
        paths: list[tuple[str | int, ...]] = [("validate", "policy", chip) for chip in range(chips)]
        rows = [_answer(runner, placed.program(seed=seed, path=path), data, combination) for path in paths]
        return cls(*(torch.stack(column) for column in zip(*rows, strict=True)))

    @property
    def chips(self) -> int:
        """How many chips answered."""
        return len(self.combined)

    def halves(self) -> tuple[Answers, Answers]:
        """The same chips on the first and on the second half of the inputs."""
        middle = self.combined.shape[-1] // 2
        columns = (self.confidence, self.right, self.agrees, self.combined)
        return Answers(*(c[..., :middle] for c in columns)), Answers(*(c[..., middle:] for c in columns))

    def thresholds(self, rate: float) -> Float[Tensor, " exits"]:
        """For each exit the least confidence from which on at most a share `rate` disagrees.

        Inputs that an earlier exit has taken do not count; 2 where no confidence is high enough.
        """
        left = torch.ones_like(self.combined)
        found = []
        for n in range(self.confidence.shape[1]):
            confidence, agrees = self.confidence[:, n][left], self.agrees[:, n][left]
            found.append(_least(confidence, agrees, rate))
            left = left & (self.confidence[:, n] < found[-1])
        return torch.tensor(found, dtype=torch.float64)

    def leaves(self, thresholds: Float[Tensor, " exits"]) -> Bool[Tensor, "chips exits images"]:
        """Which inputs leave at which exit: the first whose confidence reaches its threshold."""
        sure = self.confidence >= thresholds[:, None]
        return sure & (sure.long().cumsum(dim=1) == 1)

    def losses(self, thresholds: Float[Tensor, " exits"]) -> Float[Tensor, " chips"]:
        """acc(combined) − acc(early) of every chip."""
        leaves = self.leaves(thresholds)
        early = torch.where(leaves.any(dim=1), (leaves & self.right).any(dim=1), self.combined)
        return self.combined.double().mean(-1) - early.double().mean(-1)

    def shares(self, thresholds: Float[Tensor, " exits"]) -> list[float]:
        """The share of inputs that leave at every exit, and of those that stay to the end."""
        leaving = self.leaves(thresholds).double().mean(dim=(0, 2)).tolist()
        return [*leaving, 1 - sum(leaving)]


def _least(confidence: Tensor, agrees: Tensor, rate: float) -> float:
    """The least confidence from which on at most a share `rate` of the more confident ones disagree."""
    if not len(confidence):
        return NEVER
    order = confidence.argsort(descending=True)
    wrong = (~agrees[order]).double().cumsum(0) / torch.arange(1, len(order) + 1, dtype=torch.float64)
    allowed = (wrong <= rate).nonzero()
    return float(confidence[order[allowed[-1]]]) if len(allowed) else NEVER


def _answer(
    runner: Runner, chip: dict[str, Tensor], data: Examples, combination: Tensor
) -> tuple[Tensor, ...]:
    outputs = predict_all_outputs(runner, chip, data.x)
    combined = combine(outputs, combination).argmax(-1).cpu()
    exits = outputs[:-1].float().softmax(-1)
    confidence, answers = (part.cpu() for part in exits.max(-1))
    return confidence.double(), answers == data.y, answers == combined, combined == data.y
