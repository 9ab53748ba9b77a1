"""What phase-change cells have in common: programming noise, then drift, then 1/f noise of the read."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import lru_cache
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.ageing import Time, duration
from everychip.devices.base import standard_normal
from everychip.devices.physical import Moments, Physical, Scale, rectified

_TARGETS, _QUANTILES, _REACH = 1025, 301, 6.0
"""The targets of the table of σ; the midpoints of N(0, 1) for each of them, and how far they reach."""


class Drifting(Physical):
    """A cell that is programmed, drifts, and is read.

    Programmed, g_p = g + σ_p(g)·N; drifted, g_d = g_p·(t / t0)^−ν with ν = |µ_ν(g) + σ_ν(g)·N|; read,
    g' = g_d·(1 + Q(g_p)·√ln((t + t_read) / (2 t_read))·N); t = t0 + time, every N independent.
    time: seconds since the first read at t0; at 0 there is no drift yet, but read noise. t0, t_read: the time
    of the first read and the length of a read, in seconds, as fitted. programming_noise, drift, read_noise:
    factors of σ_p, ν and Q: 1 as measured, 0 none. Each has its own draw, whatever is switched off, and a
    chip keeps its draws when it is read at another time. σ of a cell is integrated numerically over the
    programming noise; the rest are closed forms.
    """

    time: Time = 0.0
    t0: Scale
    t_read: Scale
    programming_noise: Scale = 1.0
    drift: Scale = 1.0
    read_noise: Scale = 1.0

    @abstractmethod
    def exponent(self, g: Float[Tensor, "*cells"]) -> Moments:
        """µ_ν and σ_ν of the drift exponent for a target, without unit."""

    @abstractmethod
    def read_share(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """Q for a programmed conductance, without unit."""

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """Drift has a direction."""
        return super().symmetric and not (self.drift and self.time)

    @property
    def label(self) -> str:
        """Its name and the time."""
        return f"{super().label} at {duration(self.time)}"

    def at(self, time: float) -> Self:
        """The same cells read at another time since their first read, in seconds."""
        return self.replace(time=time)

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        noise_programming, noise_drift, noise_read = (standard_normal(g, rng) for _ in range(3))
        programmed = g + self.kept(g, self.spread(g) * noise_programming)
        law = self.exponent(g)
        decay = torch.exp(-self._decades * (law.mean + law.std * noise_drift).abs())
        read = self._read_std(programmed) * noise_read
        factor = 1 + (torch.maximum(read, -torch.ones_like(g)) if self.clip else read)
        return programmed * decay * factor - g

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return _between(g, _tabulated(self).std)

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The expected conductance of a cell, in units of G_max; what has drifted away is missing."""
        return _between(g, _tabulated(self).mean)

    @property
    def _decades(self) -> float:
        """ln(t / t0), as much of it as is requested."""
        return self.drift * math.log1p(self.time / self.t0)

    def _read_std(self, programmed: Tensor) -> Tensor:
        t = self.t0 + self.time
        span = math.sqrt(math.log((t + self.t_read) / (2 * self.t_read)))
        return self.read_noise * span * self.read_share(programmed.abs())

    def _moments(self, g: Tensor) -> Moments:
        """Mean and σ for targets g, integrated over the programming noise in double precision."""
        normal = torch.linspace(-_REACH, _REACH, 2 * _QUANTILES + 1, dtype=torch.float64)[1::2]
        weight = torch.exp(-normal.square() / 2)
        weight = weight / weight.sum()
        targets = g.double()[:, None]
        programmed = targets + self.kept(targets, self.spread(targets) * normal)
        one = torch.ones_like(programmed)
        std = self._read_std(programmed)
        read = rectified(one, std) if self.clip else Moments(one, std)
        first = (weight * programmed * read.mean).sum(dim=1)
        second = (weight * programmed.square() * (read.mean.square() + read.std.square())).sum(dim=1)
        law = self.exponent(g.double())
        mean = first * _decay(law, self._decades)
        variance = second * _decay(law, 2 * self._decades) - mean.square()
        return Moments(mean, variance.clamp(min=0).sqrt())


def _decay(law: Moments, rate: float) -> Tensor:
    """E[exp(−λ·|X|)], X ~ N(µ, s²): the folded normal's two halves."""
    mu, s = law.mean, law.std
    halves = [
        torch.exp(-sign * rate * mu + (rate * s).square() / 2) * torch.special.ndtr(sign * mu / s - rate * s)
        for sign in (1, -1)
    ]
    total: Tensor = halves[0] + halves[1]
    return total


@lru_cache(maxsize=64)
def _tabulated(device: Drifting) -> Moments:
    return device._moments(torch.linspace(0, 1, _TARGETS, dtype=torch.float64))


def _between(g: Tensor, table: Tensor) -> Tensor:
    """The table of targets 0 … 1 at g, linearly."""
    place = g.clamp(0, 1).double() * (_TARGETS - 1)
    below = place.detach().floor().clamp(max=_TARGETS - 2)
    values, index = table.to(g.device), below.long()
    return (values[index] + (values[index + 1] - values[index]) * (place - below)).to(g.dtype)
