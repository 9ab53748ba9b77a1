"""What stands on the tiles of one weight, and what observes its converters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from everychip.array.base import Array, Ranges
from everychip.array.input_range import InputRange


@dataclass
class RangeObserver:
    """The largest values at the converters of one matrix: max|x|, and max|sum| of every tile.

    squares: Σx² of the inputs, inputs: how many there were.
    """

    dac: Tensor | None = None
    squares: float = 0.0
    inputs: int = 0
    adc: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def observe_inputs(self, largest: Tensor, x: Tensor) -> None:
        """Count the inputs of a read in."""
        self.squares += float(x.detach().double().square().sum())
        self.inputs += x.numel()
        self.dac = largest if self.dac is None else torch.maximum(self.dac, largest)

    def observe_sums(self, part: int, row: int, largest: Tensor) -> None:
        """Count the sums of a row of tiles in, in one slice of the weight."""
        known = self.adc.get((part, row))
        self.adc[part, row] = largest if known is None else torch.maximum(known, largest)

    @property
    def rms(self) -> float:
        """√(mean x²) of all inputs."""
        return math.sqrt(self.squares / self.inputs) if self.inputs else 0.0

    def ranges(self) -> Ranges:
        """What was observed, as full scales."""
        slices = sorted({part for part, _ in self.adc})
        rows = sorted({row for _, row in self.adc})
        adc = tuple(tuple(tuple(self.adc[part, row].tolist()) for row in rows) for part in slices)
        return Ranges(dac=0.0 if self.dac is None else float(self.dac), adc=adc)


@dataclass(frozen=True)
class Cells:
    """A programmed weight on an array: what every slice holds, and what reads it.

    slices: their sum is the weight; one, unless the weight is held in digits that are converted one by one.
    units: what one cell at G_max counts for in each of them. gain: a digital factor on the output. rng: of
    the noise of reads, moved on by every read. observers: of the ranges of reads, by name. dac: a range
    of the DAC that is not measured but learned.
    """

    name: str
    slices: tuple[Tensor, ...]
    units: tuple[Tensor, ...]
    array: Array
    gain: float = 1.0
    rng: torch.Generator | None = None
    observers: dict[str, RangeObserver] | None = None
    dac: InputRange | None = None

    def with_slices(self, slices: tuple[Tensor, ...], *, name: str | None = None) -> Self:
        """The same with other tensors, as after a transposition, or a part of it under a name of its own."""
        return replace(self, slices=slices, name=self.name if name is None else name)
