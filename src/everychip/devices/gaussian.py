"""Additive Gaussian variation, the same at every conductance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.additive import Additive
from everychip.devices.base import standard_normal


class Gaussian(Additive):
    """Additive Gaussian programming noise: g' = g + σ·N(0, 1).

    sigma: σ, in units of G_max (0.1 means 10 % of full scale).
    negative: what becomes of a conductance that would be negative: "keep", as the papers' codes do, or
    "zero", g' = max(g + σ·N(0, 1), 0), whose mean is g·Φ(g/σ) + σ·φ(g/σ); then the mapping must have cells.

    Source: Qin et al., arXiv 2305.14561, the uniform device of their evaluation (RRAM1).

    >>> import torch; from everychip.rng import rng_for
    >>> g = Gaussian(sigma=0.1).program(torch.full((10_000,), 0.5), rng_for(0))
    >>> round(float(g.std()), 2)
    0.1
    >>> Gaussian(sigma=0.1, negative="zero").std(torch.tensor([0.0, 0.5]))
    tensor([0.0584, 0.1000])
    """

    @property
    def uniform_std(self) -> float | None:
        """σ itself: the law does not read the conductance. A subclass may, and says so itself."""
        return self.sigma if type(self) is Gaussian and self.negative == "keep" else None

    @property
    def additive(self) -> bool:
        """Whether the same noise is added everywhere; of a subclass, its own law says so."""
        return self.uniform_std is not None or super().additive

    def noise(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return standard_normal(g, rng).mul_(self.sigma)

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return torch.full_like(g, self.sigma)
