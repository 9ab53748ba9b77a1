"""Magnetic cells with two states: a placeholder."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.base import Device, Sigma, standard_normal


class Mram(Device):
    """A placeholder for two magnetic states, G_max and G_min, of one Gaussian σ: g' = g + σ·N(0, 1).

    sigma: σ of either state in units of G_max; 3 … 6 % are plausible, none of it was measured by or for this
    project. A cell holds one bit: mapping = { kind = "bit_sliced", cell_bits = 1, quantize = true };
    resistance ratios are low, so give the mapping an on_off (2 … 3) as well.

    Source: this project's own placeholder, no fit; replace it by your measurements.

    >>> import torch
    >>> Mram(sigma=0.05).std(torch.tensor([0.0, 1.0]))
    tensor([0.0500, 0.0500])
    """

    sigma: Sigma = 0.045

    needs_digits: ClassVar[bool] = True
    levels: ClassVar[int | None] = 2

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return standard_normal(g, rng).mul_(self.sigma)

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return torch.full_like(g, self.sigma)
