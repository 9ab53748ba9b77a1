"""Variation that depends on the programmed level, as in RRAM and FeFET cells with a few bits."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.devices.additive import Additive


class Levels(Additive):
    """Gaussian variation with one standard deviation per level: g' = g + σ·m(level)·N(0, 1).

    sigma: σ, in units of G_max. multipliers: m of each level from G_min to G_max, without unit;
    the presets' are m = [1, s, s, 1] / √(0.4 s² + 0.6).
    level_of: which number's level is looked up. "weight" reads the magnitude of the whole weight in equal
    bands (level 1 or 2 where 0.25 < |W|/max|W| < 0.75), "cell" the digit that the cell stores, which needs
    a mapping that quantises. negative: what becomes of a conductance that would be negative: "keep", as the
    authors' code does, or "zero"; then the mapping must have cells.

    Source: Qin et al., arXiv 2305.14561, device table; "weight" is how the authors' code reads it.

    >>> import torch; from everychip.devices import preset
    >>> fefet = preset("FeFET6", sigma=0.01)
    >>> fefet.std(torch.tensor([0.0, 0.4, 0.6, 1.0]))
    tensor([0.0026, 0.0155, 0.0155, 0.0026])
    """

    multipliers: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2)] = (
        1.0,
        1.0,
        1.0,
        1.0,
    )
    level_of: Literal["weight", "cell"] = "weight"

    @property
    def needs_digits(self) -> bool:  # type: ignore[override]
        """Whether the law reads the digits of the cells, so that the mapping has to quantise."""
        return self.level_of == "cell"

    @property
    def uniform_std(self) -> float | None:
        """The one σ of a device whose levels are all alike, such as RRAM1."""
        alike = type(self) is Levels and len(set(self.multipliers)) == 1 and self.negative == "keep"
        return self.sigma * self.multipliers[0] if alike else None

    @property
    def averages(self) -> bool:
        """The noise is added, whatever its σ: what is scaled is the σ of each level, as in NeFT's code."""
        return self.negative == "keep"

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        n = len(self.multipliers)
        std = torch.full_like(g, self.multipliers[0])
        for i, (low, high) in enumerate(pairwise(self.multipliers), start=1):
            if high != low:
                std += (high - low) * self._above(g, i, n)
        return std.mul_(self.sigma)

    def _above(self, g: Tensor, i: int, n: int) -> Tensor:
        """Whether each conductance is read as level i or higher."""
        if self.level_of == "cell":
            return g.detach() > (i - 0.5) / (n - 1)
        # Equal bands whose edges belong to the outer levels: m is an inner one only for 1/n < g < 1 − 1/n.
        return g.detach() >= i / n if 2 * i > n else g.detach() > i / n
