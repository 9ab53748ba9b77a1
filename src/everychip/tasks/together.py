"""Scoring several chips that were run in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from everychip.tasks.base import Meter


class Together(Protocol):
    """Takes the batches of several chips, and has the scores of each in the end."""

    def update(self, outputs: Any, y: Any) -> None:
        """Take in one batch.

        Args:
            outputs: the model's own, every tensor of it [chips, …]; the last ones may be of no chip that is
                scored.
            y: the targets, the same for all chips.
        """

    def compute(self) -> list[dict[str, float]]:
        """Every score by its name, for each chip."""


@dataclass(frozen=True)
class OneByOne:
    """A meter for each chip, and what hands it the model's output of a batch."""

    meters: Sequence[tuple[Meter, Callable[[Any, Any], None]]]

    def update(self, outputs: Any, y: Any) -> None:
        """Every chip's part of the output to its own meter."""
        for number, (_, take) in enumerate(self.meters):
            take(tree_map(partial(_of_chip, number), outputs), y)

    def compute(self) -> list[dict[str, float]]:
        """The scores of each."""
        return [meter.compute() for meter, _ in self.meters]


def _of_chip(number: int, output: Any) -> Any:
    return output[number] if isinstance(output, Tensor) else output
