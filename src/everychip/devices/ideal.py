"""The cell that holds exactly what is written."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices.base import Device


class Ideal(Device):
    """A cell without variation: g' = g.

    Source: this project's own, the reference every other device is compared with.

    >>> import torch; from everychip.rng import rng_for
    >>> Ideal().program(torch.tensor([0.2, 0.7]), rng_for(0))
    tensor([0.2000, 0.7000])
    """

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        return torch.zeros_like(g)

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return torch.zeros_like(g)
