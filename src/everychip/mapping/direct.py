"""One analog cell for each weight."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.devices import Device
from everychip.mapping.base import CellMapping, whole_weight_deviation, whole_weight_std


class Direct(CellMapping):
    """One analog cell holds a weight's magnitude: g = |W| / max|W|, W' = sign(W)·max|W|·g'.

    A Gaussian device of σ gives σ_W = σ·max|W|.

    Source: the convention of Joshi et al., Nat. Commun. 2020, and of aihwkit's additive noise.

    >>> import torch; from everychip.devices import Gaussian
    >>> Direct().std(torch.tensor([[0.5, -2.0]]), Gaussian(sigma=0.1))
    tensor([[0.2000, 0.2000]])
    """

    def deviation(
        self, weight: Float[Tensor, "*weights"], device: Device, rng: torch.Generator
    ) -> Float[Tensor, "*weights"]:
        return whole_weight_deviation(weight, device, rng, 1.0)

    def std(self, weight: Float[Tensor, "*weights"], device: Device) -> Float[Tensor, "*weights"]:
        return whole_weight_std(weight, device, 1.0)
