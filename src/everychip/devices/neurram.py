"""The RRAM cells of the NeuRRAM chip, as they relax after programming."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from everychip.config.component import refusal
from everychip.devices.ageing import DAY, Time, duration
from everychip.devices.physical import Physical, Positive, Scale, polynomial

REFERENCE = 40.0
"""The conductance in µS whose powers the fits multiply, whatever g_max is."""


class NeuRram(Physical, kind="neurram"):
    """Spread of RRAM cells 1 s, 1 day or 2 days after they were programmed: G' = G + σ_t(G)·N(0, 1).

    σ_t(G) = Σ c_i·(G / 40 µS)^i in µS, with a fit for each of the three times. The mean stays.
    time: seconds since programming; any other time is refused, unless interpolate = "log_time" asks for σ
    drawn linearly over log(time) between its neighbours; nothing is said before the first or after the last
    time. The published figures hold no read noise.

    Source: Wan et al. (NeuRRAM), Nature 608 (2022); the fit of its figures is aihwkit's (reference 40 µS).

    >>> import torch
    >>> cell = NeuRram(time=1)
    >>> cell.spread(torch.tensor([0.0, 1.0])) * cell.g_max, cell.at(172800).label
    (tensor([0.3480, 1.1030]), 'neurram at 2 days')
    """

    g_max: Positive = REFERENCE
    valid: tuple[Scale, Positive] = (0.0, REFERENCE)
    time: Time = 1.0
    interpolate: Annotated[
        Literal["log_time"] | None,
        Field(description="log_time draws σ between the times of the fits; absent, others are refused."),
    ] = None

    fits: ClassVar[dict[float, tuple[float, ...]]] = {
        1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
        DAY: (0.701, 22.086, -50.773, 47.095, -16.458),
        2 * DAY: (0.782, 20.274, -43.507, 37.062, -11.934),
    }

    @model_validator(mode="after")
    def _time_was_measured(self) -> Self:
        known = ", ".join(f"{time:g}" for time in self.fits)
        inside = min(self.fits) <= self.time <= max(self.fits)
        if self.time not in self.fits and not (self.interpolate and inside):
            ask = '; interpolate = "log_time" draws σ between them' if inside else ""
            found = f"{self.time:g} s, at which nothing was measured"
            raise refusal(("time",), found, f"one of {known} s{ask}")
        return self

    @property
    def label(self) -> str:
        """Its name and the time."""
        return f"{super().label} at {duration(self.time)}"

    def at(self, time: float) -> Self:
        """The same cells at another time since programming, in seconds."""
        return self.replace(time=time)

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        if self.time in self.fits:
            return self._fitted(g, self.time)
        earlier, later = next(pair for pair in pairwise(self.fits) if pair[0] < self.time < pair[1])
        share = math.log(self.time / earlier) / math.log(later / earlier)
        return (1 - share) * self._fitted(g, earlier) + share * self._fitted(g, later)

    def _fitted(self, g: Tensor, time: float) -> Tensor:
        return polynomial(self.measured(g) / REFERENCE, self.fits[time]).clamp(min=0) / self.g_max
