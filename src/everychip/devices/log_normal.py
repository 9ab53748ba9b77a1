"""Multiplicative log-normal variation."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.base import Device, Sigma, standard_normal


class LogNormal(Device):
    """Log-normal variation: g' = g·exp(θ), θ ~ N(0, σ²).

    sigma: σ of the logarithm, without unit. The mean grows by exp(σ²/2); nothing is subtracted. A mapping of
    whole weights has W' = W·exp(θ) of it: no factor of slices multiplies what multiplies the weight.

    Source: Eldebiky et al. (CorrectNet), DATE 2023, arXiv 2211.14917.

    >>> import torch; from everychip.rng import rng_for
    >>> LogNormal(sigma=0.5).program(torch.zeros(2), rng_for(0))
    tensor([0., 0.])
    """

    sigma: Sigma
    symmetric: ClassVar[bool] = False

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return g * standard_normal(g, rng).mul_(self.sigma).expm1_()

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return g * math.exp(self.sigma**2 / 2)

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        variance = self.sigma**2
        return g * math.sqrt(math.expm1(variance) * math.exp(variance))
