"""Filamentary CMO/HfOx RRAM: written until it reads right, then relaxing."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from everychip.config.component import refusal
from everychip.devices.ageing import Time, duration
from everychip.devices.base import standard_normal
from everychip.devices.physical import Physical, Positive, Scale

T_READ = 1e-6


class CmoHfox(Physical):
    """Cells written until they read right, then relaxing: G' = G + σ_a·N + m(t) + s(t)·N + σ_r(t)·N.

    In µS, σ_a = 0.00081107 + 0.00106879·G for an acceptance of 0.2 %, 0.0112185 + 0.0112903·G for 2 %;
    m(t) = −0.0890·ln t and s(t) = 0.4118 + 0.0420·ln t, the same at every conductance;
    σ_r = 0.02773·log₁₀(G)·√ln((t + 1 µs) / (2 µs)), at the target G. The N are independent.
    acceptance: "0.2%" or "2%" of the target. time: t in seconds; 0 is right after the last write, without
    relaxation and read noise; between 0 and 1 s nothing was measured. programming_noise, relaxation,
    read_noise: factors of σ_a, of m and s, and of σ_r: 1 as measured, 0 none. A mapping with on_off = 10
    keeps targets within 9 … 90 µS.

    Source: Falcone et al., IBM Research Zurich (CMO/HfOx ReRAM), as fitted in aihwkit; read noise: Lombardo
    et al., DRC 2024, the same way.

    >>> import torch
    >>> cell = CmoHfox(acceptance="2%")
    >>> cell.spread(torch.tensor([1.0])) * cell.g_max, cell.at(86400).shift(torch.tensor([1.0])) * cell.g_max
    (tensor([1.0273]), tensor([-1.0116]))
    """

    g_max: Positive = 90.0
    valid: tuple[Scale, Positive] = (9.0, 90.0)
    acceptance: Literal["0.2%", "2%"] = "0.2%"
    time: Time = 0.0
    programming_noise: Scale = 1.0
    relaxation: Scale = 1.0
    read_noise: Scale = 1.0

    accepted: ClassVar[dict[str, tuple[float, float]]] = {
        "0.2%": (0.00081107, 0.00106879),
        "2%": (0.0112185, 0.0112903),
    }

    @model_validator(mode="after")
    def _time_was_measured(self) -> Self:
        if 0 < self.time < 1:
            raise refusal(("time",), f"{self.time:g} s", "0, right after programming, or at least 1 s")
        return self

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """Relaxation has a direction."""
        return super().symmetric and not (self.relaxation and self.time > 1)

    @property
    def label(self) -> str:
        """Its name and the time."""
        return f"{super().label} at {duration(self.time)}"

    def at(self, time: float) -> Self:
        """The same cells at another time since programming, in seconds."""
        return self.replace(time=time)

    def shift(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        moved = -0.0890 * math.log(self.time) if self.time else 0.0
        return torch.full_like(g, self.relaxation * moved / self.g_max)

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return torch.stack([part.square() for part in self._spreads(g)]).sum(dim=0).sqrt()

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        # One draw for each effect, whatever is switched off: the others stay the same, and so do other times.
        total = self.shift(g)
        for part in self._spreads(g):
            total = total + part * standard_normal(g, rng)
        return self.kept(g, total)

    def _spreads(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """σ_a, s and σ_r, in units of G_max."""
        siemens, (fixed, slope) = self.measured(g), self.accepted[self.acceptance]
        programming = self.programming_noise * (fixed + slope * siemens)
        age = 0.4118 + 0.0420 * math.log(self.time) if self.time else 0.0
        relaxed = torch.full_like(g, self.relaxation * age)
        decades = math.sqrt(math.log((self.time + T_READ) / (2 * T_READ))) if self.time else 0.0
        read = self.read_noise * 0.02773 * decades * siemens.log10()
        return programming / self.g_max, relaxed / self.g_max, read / self.g_max
