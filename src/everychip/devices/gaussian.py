"""Additive Gaussian variation, the same at every conductance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.base import Device, Sigma, standard_normal


class Gaussian(Device):
    """Additive Gaussian programming noise: g' = g + σ·N(0, 1).

    sigma: σ, in units of G_max (0.1 means 10 % of full scale).

    Source: Qin et al., arXiv 2305.14561, the uniform device of their evaluation (RRAM1).

    >>> import torch; from everychip.rng import rng_for
    >>> g = Gaussian(sigma=0.1).program(torch.full((10_000,), 0.5), rng_for(0))
    >>> round(float(g.std()), 2)
    0.1
    """

    sigma: Sigma

    @property
    def uniform_std(self) -> float | None:
        """σ itself: the law does not read the conductance. A subclass may, and says so itself."""
        return self.sigma if type(self) is Gaussian else None

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return standard_normal(g, rng).mul_(self.sigma)

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return torch.full_like(g, self.sigma)
