"""The phase-change cells of IBM's Hermes chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from everychip.config.component import refusal
from everychip.devices.drifting import Drifting
from everychip.devices.physical import Moments, Positive, Scale, polynomial


@dataclass(frozen=True)
class _Fit:
    """The numbers of one programming scheme; conductances are fractions of its reference."""

    reference: float
    t0: float
    programming: tuple[float, ...]
    exponent_std_low: tuple[float, float, float]
    exponent_std: tuple[float, ...]
    exponent_std_from: float
    read_low: tuple[float, float, float]
    read: tuple[float, ...]
    read_from: float


_FITS = {
    1: _Fit(
        reference=10.35,
        t0=200.0,
        programming=(0.15781817, 2.32443916, -2.16310839, 0.68841818),
        exponent_std_low=(-0.0120, -0.0023, 0.0124),
        exponent_std=(0.0104, 0.0116, -0.0165),
        exponent_std_from=0.3039,
        read_low=(-0.0078, 0.0038, 0.0179),
        read=(0.0088, 0.0768, -0.1352, 0.0664),
        read_from=0.1591,
    ),
    2: _Fit(
        reference=20.7,
        t0=300.0,
        programming=(0.16603222, 4.71806468, -8.48101252, 4.68961419),
        exponent_std_low=(-0.0117, -0.0057, 0.0091),
        exponent_std=(0.0073, 0.0093, -0.0118),
        exponent_std_from=0.3055,
        read_low=(-0.0117, -0.0069, 0.015),
        read=(0.0123, 0.0211, -0.0280, 0.0069),
        read_from=0.16,
    ),
}


class Hermes(Drifting):
    """Phase-change cells of the Hermes chip, one or two devices per conductance.

    x = G / 20.7 µS (one device: G / 10.35 µS); σ_p in µS: 0.16603222 + 4.71806468·x − 8.48101252·x² +
    4.68961419·x³ with two devices (t0 = 300 s), 0.15781817 + 2.32443916·x − 2.16310839·x² + 0.68841818·x³
    with one (t0 = 200 s). µ_ν = −0.0387·ln x − 0.0182 within 0.072 … 0.13 where x < 0.0945, else 0.0736 −
    0.0126·x − 0.0436·x²; σ_ν and Q likewise in two pieces each, other ones for one and for two devices (see
    `hermes.py`). devices: 1, written one at a time, or 2, written together, which is more accurate; it sets
    g_max, valid and t0.

    Source: Le Gallo et al., Nat. Electron. 2023, and Vasilopoulos et al., TED 2023; numbers as in aihwkit,
    those of drift and read noise unverified against the papers.

    >>> import torch
    >>> one, two = Hermes(devices=1), Hermes(devices=2)
    >>> one.std(torch.tensor([0.5])) > two.std(torch.tensor([0.5])), two.g_max
    (tensor([True]), 20.7)
    """

    g_max: Positive = 20.7
    valid: tuple[Scale, Positive] = (0.0, 20.7)
    t0: Positive = 300.0
    t_read: Positive = 512e-9
    devices: Literal[1, 2] = 2

    @model_validator(mode="before")
    @classmethod
    def _fitted_numbers(cls, data: Any) -> Any:
        devices = data.get("devices", 2) if isinstance(data, dict) else None
        fit = _FITS.get(devices) if isinstance(devices, int) else None
        if fit is None:
            return data
        return {"g_max": fit.reference, "valid": (0.0, fit.reference), "t0": fit.t0, **data}

    @model_validator(mode="after")
    def _within_the_fit(self) -> Self:
        most = _FITS[self.devices].reference
        if self.valid[1] > most:
            found = f"{self.valid[1]:g} µS with devices = {self.devices}"
            raise refusal(("valid",), found, f"at most {most:g} µS, the highest measured")
        return self

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        fit = _FITS[self.devices]
        sigma = polynomial(self.measured(g) / fit.reference, fit.programming).clamp(min=0)
        return self.programming_noise * sigma / self.g_max

    def exponent(self, g: Float[Tensor, "*cells"]) -> Moments:
        fit = _FITS[self.devices]
        x = self.measured(g) / fit.reference
        mean = _piecewise(x, 0.0945, (-0.0387, -0.0182, 0.0720), 0.13, (0.0736, -0.0126, -0.0436))
        std = _piecewise(x, fit.exponent_std_from, fit.exponent_std_low, 0.04, fit.exponent_std)
        return Moments(mean, std)

    def read_share(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        fit = _FITS[self.devices]
        x = g * (self.g_max / fit.reference)
        return _piecewise(x, fit.read_from, fit.read_low, 0.04, fit.read).clamp(min=0)


def _piecewise(
    x: Tensor, start: float, low: tuple[float, float, float], most: float, high: tuple[float, ...]
) -> Tensor:
    """low = (slope, constant, least): slope·ln x + constant within least … most below `start`; else high."""
    slope, constant, least = low
    below = (slope * x.clamp(min=1e-7).log() + constant).clamp(least, most)
    return torch.where(x < start, below, polynomial(x, high))
