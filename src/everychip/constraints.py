"""Constraints: what is applied to the weights after each optimiser step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from everychip.component import Component


class Constraint(Component, family="constraint"):
    """Something the weights on the crossbar are brought back to after each optimiser step."""

    @abstractmethod
    def apply(self, weights: Iterable[Tensor]) -> None:
        """Change the weights in place, layer by layer."""


class Clip(Constraint):
    """Clamp every layer to ±α·rms(W); step by step σ_W / rms(W) comes down to about α·σ_W / max|W|.

    alpha: α, without unit, at least 1: the largest weight that stays, in units of the layer's rms before
    the clamp. The device noise scales with max|W|, so 1.5 … 2.5 makes it up to four times smaller.

    Source: weight clipping as in Joshi et al., Nat. Commun. 2020; the limit in units of the rms is this
    project's.

    >>> import torch
    >>> w = torch.tensor([[1.0, 1.0, 1.0, -5.0]])
    >>> Clip(alpha=1.5).apply([w]); w.abs().max() < 4
    tensor(True)
    """

    alpha: Annotated[float, Field(ge=1)] = 1.5

    @torch.no_grad()
    def apply(self, weights: Iterable[Tensor]) -> None:
        for weight in weights:
            limit = self.alpha * weight.square().mean().sqrt()
            torch.clamp(weight, min=-limit, max=limit, out=weight)


def clip(alpha: float) -> Clip:
    """Shorthand for `Clip(alpha=alpha)`.

    >>> clip(2.0)
    Clip(alpha=2.0)
    """
    return Clip(alpha=alpha)
