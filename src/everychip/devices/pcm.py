"""Phase-change memory."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from everychip.devices.drifting import Drifting
from everychip.devices.physical import Moments, Positive, Scale, polynomial

REFERENCE = 25.0
"""The conductance in µS whose fractions the fits read, whatever g_max is."""


class Pcm(Drifting):
    """Mushroom phase-change cells: programming noise, drift and 1/f read noise, x = G / 25 µS.

    σ_p = 0.26348 + 1.9650·x − 1.1731·x² µS; µ_ν = −0.0155·ln x + 0.0244 within 0.049 … 0.1,
    σ_ν = −0.0125·ln x − 0.0059 within 0.008 … 0.045; Q = 0.0088 / x^0.65, at most 0.2.

    Source: Nandakumar et al., ICECS 2019; numbers as in aihwkit.

    >>> import torch
    >>> cell = Pcm(read_noise=0)
    >>> cell.spread(torch.tensor([1.0])) * cell.g_max, cell.at(86400).mean(torch.tensor([1.0]))
    (tensor([1.0554]), tensor([0.6650]))
    """

    g_max: Positive = REFERENCE
    valid: tuple[Scale, Positive] = (0.0, REFERENCE)
    t0: Positive = 20.0
    t_read: Positive = 250e-9

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        sigma = polynomial(self.measured(g) / REFERENCE, (0.26348, 1.9650, -1.1731))
        return self.programming_noise * sigma / self.g_max

    def exponent(self, g: Float[Tensor, "*cells"]) -> Moments:
        x = (self.measured(g) / REFERENCE).clamp(min=1e-7).log()
        return Moments((-0.0155 * x + 0.0244).clamp(0.049, 0.1), (-0.0125 * x - 0.0059).clamp(0.008, 0.045))

    def read_share(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        x = g * self.g_max / REFERENCE
        return (0.0088 / x.clamp(min=1e-7) ** 0.65).clamp(max=0.2)
