"""Cells whose law was measured in µS, and what happens to a conductance that would be negative."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from everychip.config.component import refusal
from everychip.devices.base import Device, standard_normal

Positive = Annotated[float, Field(gt=0)]
Scale = Annotated[float, Field(ge=0)]
"""How much of an effect there is: 1 as measured, 0 none."""


class Physical(Device):
    """A cell whose law was measured in µS; outside this class conductances are fractions of g_max.

    g_max: the conductance in µS that 1 stands for. valid: the lowest and the highest conductance that were
    measured, in µS; the law of a lower conductance is that of the lowest, a higher g_max is refused.
    clip: true, a conductance that would be negative is 0, as physics demands, so that the mean of a cell near
    zero rises and its σ falls; false, the Gaussian law of the fit as it stands.
    """

    g_max: Positive
    valid: tuple[Scale, Positive]
    clip: bool = True

    needs_cells: ClassVar[bool] = True

    @model_validator(mode="after")
    def _g_max_was_measured(self) -> Self:
        low, high = self.valid
        if low >= high:
            raise refusal(("valid",), f"[{low:g}, {high:g}]", "the lowest and the highest conductance, in µS")
        if self.g_max > high:
            raise refusal(("g_max",), f"{self.g_max:g} µS", f"at most {high:g} µS, the highest measured")
        return self

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """A Gaussian law is, until it is clipped."""
        return not self.clip

    @abstractmethod
    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """σ of the Gaussian law before it is clipped, in units of G_max."""

    def shift(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """How far the mean lies from the target before the law is clipped, in units of G_max."""
        return torch.zeros_like(g)

    def measured(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The conductances in µS, brought into the valid range."""
        return (g * self.g_max).clamp(*self.valid)

    def kept(self, g: Float[Tensor, "*cells"], deviation: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The deviation that leaves no conductance negative, if it is to be clipped."""
        return torch.maximum(deviation, -g) if self.clip else deviation

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return self.kept(g, self.shift(g) + self.spread(g) * standard_normal(g, rng))

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        middle = g + self.shift(g)
        return rectified(middle, self.spread(g)).mean if self.clip else middle

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        spread = self.spread(g)
        return rectified(g + self.shift(g), spread).std if self.clip else spread


def polynomial(x: Float[Tensor, "*cells"], coefficients: tuple[float, ...]) -> Float[Tensor, "*cells"]:
    """Σ c_i·x^i, c_0 first.

    >>> polynomial(torch.tensor([0.0, 2.0]), (1.0, 0.0, 3.0))
    tensor([ 1., 13.])
    """
    value = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


@dataclass(frozen=True)
class Moments:
    """The mean and the standard deviation of every cell."""

    mean: Float[Tensor, "*cells"]
    std: Float[Tensor, "*cells"]


def rectified(mean: Float[Tensor, "*cells"], std: Float[Tensor, "*cells"]) -> Moments:
    """The moments of max(X, 0), X ~ N(m, s²): E = m·Φ(z) + s·φ(z), E² = (m² + s²)·Φ(z) + m·s·φ(z), z = m/s.

    >>> rectified(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 1.0])).std
    tensor([0.5838, 1.0000])
    """
    m, s = mean.double(), std.double()
    z = m / s.clamp(min=torch.finfo(torch.float64).tiny)
    above, density = torch.special.ndtr(z), torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    first = m * above + s * density
    second = (m.square() + s.square()) * above + m * s * density
    variance = (second - first.square()).clamp(min=0)
    return Moments(first.to(mean.dtype), variance.sqrt().to(std.dtype))
