"""Programming noise whose σ is a polynomial of the conductance."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.devices.physical import Physical, Positive, polynomial


class Polynomial(Physical):
    """Gaussian noise with a fitted σ: G' = G + σ(G)·N(0, 1), σ(G) = max(Σ c_i·(G / reference)^i, 0).

    coefficients: c_0, c_1, … in µS. reference: what G is divided by, in µS; 1 where the fit is one of G
    itself. The reference belongs to the fit: it stays where it is when g_max is another one.

    Source: the form of most published fits; each preset names its own.

    >>> import torch; from everychip.devices import preset
    >>> milo = preset("RRAM-Milo")
    >>> milo.spread(torch.tensor([0.5, 1.0])) * milo.g_max
    tensor([3.7575, 2.7329])
    """

    coefficients: Annotated[tuple[float, ...], Field(min_length=1)]
    reference: Positive = 1.0

    def spread(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return polynomial(self.measured(g) / self.reference, self.coefficients).clamp(min=0) / self.g_max
