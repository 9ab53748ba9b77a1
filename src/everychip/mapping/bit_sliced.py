"""A weight of several bits sliced into cells of a few bits each."""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Self

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from everychip.config.component import refusal
from everychip.mapping.base import CellMapping
from everychip.mapping.quantize import integers
from everychip.mapping.sign import Offset


class BitSliced(CellMapping):
    """A weight of M bits held by M/K cells of K bits, digit i counting 2^(iK).

    Cells of one σ (of full scale) give σ_W = max|W|·σ·√(Σ 2^(2iK)) / Σ 2^(iK), i < M/K: 0.7776·σ·max|W| for
    M = 8, K = 2. weight_bits: M. cell_bits: K, a divisor of M.
    quantize: False, as in the authors' code, disturbs the whole weight by that σ_W and rounds nothing; True
    rounds the magnitude to M bits, slices it, and lets the device programme every cell. The factor is one of
    noise that averages over slices: added, of one σ or one per level. What multiplies (mismatch, log-normal)
    acts on the whole weight, W' = W·(1 + ζ·N), without it; in a sequence, each effect by its own nature.

    Source: Qin et al., arXiv 2305.14561, authors' code (σ of full scale).

    >>> round(BitSliced(weight_bits=8, cell_bits=2).factor, 4)
    0.7776
    """

    weight_bits: Annotated[int, Field(ge=1, le=16)] = 8
    cell_bits: Annotated[int, Field(ge=1, le=16)] = 2
    quantize: bool = False

    @model_validator(mode="after")
    def _digits_fill_the_weight(self) -> Self:
        if self.weight_bits % self.cell_bits:
            raise refusal(
                ("cell_bits",),
                f"{self.cell_bits} with weight_bits = {self.weight_bits}",
                "that cell_bits divide weight_bits",
            )
        if self.steps == 1 and isinstance(self.sign, Offset):
            raise refusal(("weight_bits",), "1 with an offset column", "at least 2: a step of either sign")
        return self

    @property
    def steps(self) -> int | None:  # type: ignore[override]
        """Of a magnitude of M bits, if it is rounded."""
        return 2**self.weight_bits - 1 if self.quantize else None

    @property
    def slicing(self) -> float | None:  # type: ignore[override]
        """The factor where the slices are not distinguished."""
        return None if self.quantize else self.factor

    @property
    def places(self) -> tuple[int, ...]:
        """What each cell's digit counts, the lowest first."""
        return _places(self.weight_bits, self.cell_bits)

    @property
    def factor(self) -> float:
        """σ_W / max|W| of the cells of one magnitude with σ = 1 of full scale."""
        return _averaged(self.places)

    def cells(self, magnitude: Float[Tensor, "*weights"]) -> list[tuple[float, Float[Tensor, "*weights"]]]:
        if self.steps is None:
            return [(1.0, magnitude)]
        whole, top = integers(magnitude, steps=self.steps), 2**self.cell_bits - 1
        digits = [((whole // place) & top).to(magnitude.dtype) / top for place in self.places]
        return [(place / sum(self.places), g) for place, g in zip(self.places, digits, strict=True)]


@cache
def _places(weight_bits: int, cell_bits: int) -> tuple[int, ...]:
    return tuple(2**shift for shift in range(0, weight_bits, cell_bits))


@cache
def _averaged(places: tuple[int, ...]) -> float:
    return math.sqrt(sum(place**2 for place in places)) / sum(places)
