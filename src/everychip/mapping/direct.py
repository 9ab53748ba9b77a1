"""One analog cell for each weight."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from everychip.mapping.base import CellMapping


class Direct(CellMapping):
    """One analog cell holds a weight's magnitude: g = |W| / max|W|, W' = sign(W)·max|W|·g'.

    A Gaussian device of σ gives σ_W = σ·max|W|.

    Source: the convention of Joshi et al., Nat. Commun. 2020, and of aihwkit's additive noise.

    >>> import torch; from everychip.devices import Gaussian
    >>> Direct().std(torch.tensor([[0.5, -2.0]]), Gaussian(sigma=0.1))
    tensor([[0.2000, 0.2000]])
    """

    def cells(self, magnitude: Float[Tensor, "*weights"]) -> list[tuple[float, Float[Tensor, "*weights"]]]:
        return [(1.0, magnitude)]
