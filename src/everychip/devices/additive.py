"""What devices with additive noise have in common: the choice of what a negative conductance becomes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.base import Device, Sigma, standard_normal
from everychip.devices.physical import rectified


class Additive(Device):
    """Gaussian noise added to the conductance: g' = g + σ(g)·N(0, 1), or max(g + σ(g)·N(0, 1), 0).

    sigma: σ, in units of G_max.
    negative: what becomes of a conductance that would be negative, which no cell can have. "keep" leaves it,
    as the papers' codes do; "zero" makes it 0, so that the mean of a cell near zero rises and its σ falls: a
    law of one cell, so the mapping has cells ("direct", or "bit_sliced" with `quantize = true`).
    """

    sigma: Sigma
    negative: Literal["keep", "zero"] = "keep"

    @abstractmethod
    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """σ before anything is made 0, in units of G_max."""

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """Until what is negative is cut off."""
        return self.negative == "keep"

    @property
    def needs_cells(self) -> bool:  # type: ignore[override]
        """Whether negative conductances are made 0: a bias of each cell, which no factor scales."""
        return self.negative == "zero"

    def table(self) -> dict[str, Any]:
        """The device as a TOML table; `negative` has a key where it is not "keep": runs keep ids."""
        return {k: v for k, v in super().table().items() if (k, v) != ("negative", "keep")}

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        noise = self.noise(g, rng)
        return noise if self.negative == "keep" else torch.maximum(noise, -g)

    def noise(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        """One draw of σ(g)·N(0, 1) for every cell."""
        return standard_normal(g, rng).mul_(self.spread(g))

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return g if self.negative == "keep" else rectified(g, self.spread(g)).mean

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        spread = self.spread(g)
        return spread if self.negative == "keep" else rectified(g, spread).std
