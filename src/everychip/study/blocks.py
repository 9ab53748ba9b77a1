"""Blocks of chips: the parts of a run's evaluation that workers measure side by side, once it is trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from everychip.study.experiment import Condition, Experiment

SMALLEST, FOR_EACH = 25, 8
"""Chips of a block at least, for its worker reads data and network first; blocks of each worker."""


@dataclass(frozen=True, order=True)
class Block:
    """Chips first … first + chips − 1 under one condition of a run, by the condition's place.

    >>> Block(0, first=50, chips=25).name, Block.parse("0-50-25").numbers
    ('0-50-25', range(50, 75))
    """

    condition: int
    first: int
    chips: int

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"{self.condition}-{self.first}-{self.chips}"

    @property
    def numbers(self) -> range:
        """The chips' numbers."""
        return range(self.first, self.first + self.chips)

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The block of a name; None where it is no block's."""
        found = re.fullmatch(r"(\d{1,6})-(\d{1,7})-([1-9]\d{0,6})", name)
        return None if found is None else cls(*map(int, found.groups()))


Part = Literal["run", "training"] | Block
"""What a worker does of a run: whatever it still lacks, its training only, or a block of its chips."""


def apart(blocks: Iterable[Block]) -> list[Block]:
    """The blocks in order, without those that overlap an earlier one.

    >>> [block.first for block in apart([Block(0, 40, 20), Block(0, 0, 25), Block(0, 20, 20)])]
    [0, 40]
    """
    kept: list[Block] = []
    for block in sorted(blocks):
        before = kept[-1] if kept else None
        if before is None or before.condition != block.condition or before.numbers.stop <= block.first:
            kept.append(block)
    return kept


def lacking(known: Sequence[Block], chips: int) -> list[range]:
    """The numbers of a condition's chips 0 … chips − 1 that no block of `known` has, in order.

    Args:
        known: blocks of one condition that do not overlap, in order.
        chips: how many chips there are to be.

    >>> lacking([Block(0, 25, 25)], 60)
    [range(0, 25), range(50, 60)]
    """
    edges = [0, *(edge for block in known for edge in (block.first, block.numbers.stop)), chips]
    return [range(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


def plan(
    experiment: Experiment, known: Mapping[int, Sequence[Block]], *, workers: int, size: int | None = None
) -> list[Block]:
    """What is left of a run's chips, as blocks of equal size; none where one worker had better do all.

    A rule of stopping takes the chips in order, so a run with one is never divided.

    Args:
        experiment: the run.
        known: blocks that are measured, by the place of their condition.
        workers: how many there are.
        size: chips of a block; None, eight blocks for each worker, of 25 chips at least. Where several chips
            are run in one call, a block is of whole calls.

    Returns:
        Blocks, in order.
    """
    asked = experiment.evaluation
    noisy = [n for n, condition in enumerate(experiment.conditions()) if not _alike(experiment, condition)]
    chips = asked.chips * len(noisy)
    call = asked.at_once or 1
    chosen = -(-(size or max(SMALLEST, -(-chips // (FOR_EACH * workers)))) // call) * call
    if asked.until is not None or chips <= chosen:
        return []
    return [
        Block(condition, first, min(chosen, gap.stop - first))
        for condition in noisy
        for gap in lacking(known.get(condition, ()), asked.chips)
        for first in range(gap.start, gap.stop, chosen)
    ]


def _alike(experiment: Experiment, condition: Condition) -> bool:
    """Whether one chip will do, as far as a recipe can say; what it cannot, a worker finds out."""
    quiet = condition.sigma == 0 and not any(array.is_noisy for array in condition.hardware.arrays)
    return quiet and experiment.evaluation.images is None
