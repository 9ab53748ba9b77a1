"""A weight of several bits sliced into cells of a few bits each."""

from __future__ import annotations

import math
from typing import Annotated, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from everychip.component import refusal
from everychip.devices import Device
from everychip.mapping.base import CellMapping, full_scale, sign, whole_weight_deviation, whole_weight_std
from everychip.mapping.quantize import integers, quantize


class BitSliced(CellMapping):
    """A weight of M bits held by M/K cells of K bits, digit i counting 2^(iK).

    Cells of one σ (of full scale) give σ_W = max|W|·σ·√(Σ 2^(2iK)) / Σ 2^(iK), i < M/K: 0.7776·σ·max|W| for
    M = 8, K = 2. weight_bits: M. cell_bits: K, a divisor of M.
    quantize: False, as in the authors' code, disturbs the whole weight by that σ_W and rounds nothing; True
    rounds the magnitude to M bits, slices it, and lets the device programme every cell.

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
        return self

    @property
    def has_digits(self) -> bool:  # type: ignore[override]
        """Digits exist only where the weights are rounded."""
        return self.quantize

    @property
    def places(self) -> tuple[int, ...]:
        """What each cell's digit counts, the lowest first."""
        return tuple(2**shift for shift in range(0, self.weight_bits, self.cell_bits))

    @property
    def factor(self) -> float:
        """σ_W / max|W| of cells with σ = 1 of full scale."""
        return math.sqrt(sum(place**2 for place in self.places)) / sum(self.places)

    def target(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*weights"]:
        return quantize(weight, bits=self.weight_bits) if self.quantize else weight

    def deviation(
        self, weight: Float[Tensor, "*weights"], device: Device, rng: torch.Generator
    ) -> Float[Tensor, "*weights"]:
        if not self.quantize:
            return whole_weight_deviation(weight, device, rng, self.factor)
        total = torch.zeros_like(weight)
        for place, g in zip(self.places, self.conductances(weight), strict=True):
            total = total + device.deviation(g, rng) * (place / sum(self.places))
        return total * full_scale(weight) * sign(weight)

    def std(self, weight: Float[Tensor, "*weights"], device: Device) -> Float[Tensor, "*weights"]:
        if not self.quantize:
            return whole_weight_std(weight, device, self.factor)
        variance = torch.zeros_like(weight)
        for place, g in zip(self.places, self.conductances(weight), strict=True):
            variance = variance + (device.std(g) * (place / sum(self.places))).square()
        return variance.sqrt() * full_scale(weight)

    def conductances(self, weight: Float[Tensor, "*weights"]) -> list[Float[Tensor, "*weights"]]:
        """The target conductance of every cell of every weight, lowest digit first, in units of G_max.

        >>> import torch
        >>> BitSliced(weight_bits=4, cell_bits=2).conductances(torch.tensor([1.0, 0.4]))
        [tensor([1.0000, 0.6667]), tensor([1.0000, 0.3333])]
        """
        whole = integers(weight, bits=self.weight_bits)
        top = 2**self.cell_bits - 1
        return [((whole // place) & top).to(weight.dtype) / top for place in self.places]
