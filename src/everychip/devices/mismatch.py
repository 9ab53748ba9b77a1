"""Multiplicative Gaussian mismatch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.base import Device, Sigma, standard_normal


class Mismatch(Device):
    """Relative Gaussian variation: g' = g·(1 + ζ·N(0, 1)).

    sigma: ζ, without unit, relative to the conductance itself. A mapping of whole weights has
    W' = W·(1 + ζ·N) of it: no factor of slices multiplies what multiplies the weight.

    Source: Büchel et al., ICLR 2022, mismatch model Θ(1 + ζN(0, 1)).

    >>> import torch
    >>> Mismatch(sigma=0.3).std(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.1500, 0.3000])
    """

    sigma: Sigma

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return g * standard_normal(g, rng).mul_(self.sigma)

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return g * self.sigma
