"""Cells that are stuck at one end, whatever is written to them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from everychip.config.component import refusal
from everychip.devices.base import Device

Rate = Annotated[float, Field(ge=0, le=1)]


class StuckAt(Device):
    """A cell is stuck at G_min with probability p0, at G_max with p1, and programmed exactly otherwise.

    p0, p1: the shares of all cells, 0 … 1; one draw decides for a cell, so that the two never overlap and
    both rates are what was requested. g_min: G_min in units of G_max. Put it last in a sequence: what is
    stuck has no noise. Every cell is drawn for itself: a weight of four cells has four chances. σ² =
    p0·G_min² + p1 + (1 − p0 − p1)·g² − (p0·G_min + p1 + (1 − p0 − p1)·g)².

    Source: the usual fault model; the preset's rates are a published pair (unverified here which end is
    which).

    >>> import torch; from everychip.rng import rng_for
    >>> cells = StuckAt(p0=0.25, p1=0.5).program(torch.full((10_000,), 0.3), rng_for(0))
    >>> round(float((cells == 0).float().mean()), 2), round(float((cells == 1).float().mean()), 2)
    (0.26, 0.5)
    """

    p0: Rate
    p1: Rate
    g_min: Rate = 0.0

    symmetric: ClassVar[bool] = False
    needs_cells: ClassVar[bool] = True

    @model_validator(mode="after")
    def _some_cells_may_work(self) -> Self:
        if self.p0 + self.p1 > 1:
            raise refusal(("p1",), f"p0 + p1 = {self.p0 + self.p1:g}", "rates that sum to at most 1")
        return self

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        # In double precision, which has no rate too small to be met.
        fate = torch.empty(g.shape, dtype=torch.float64, device=g.device).uniform_(generator=rng)
        low, high = fate < self.p0, fate >= 1 - self.p1
        return torch.where(low, self.g_min - g, torch.where(high, 1 - g, torch.zeros_like(g)))

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return self.p0 * self.g_min + self.p1 + (1 - self.p0 - self.p1) * g

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        works = 1 - self.p0 - self.p1
        target = g.double()
        mean = self.p0 * self.g_min + self.p1 + works * target
        square = self.p0 * self.g_min**2 + self.p1 + works * target.square()
        return (square - mean.square()).clamp(min=0).sqrt().to(g.dtype)
