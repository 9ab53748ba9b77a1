"""Uniform quantisation of magnitudes, with a straight-through gradient."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def integers(magnitude: Float[Tensor, "*weights"], *, steps: int) -> Int[Tensor, "*weights"]:
    """Magnitudes 0 … 1 as the nearest integers 0 … steps.

    >>> import torch
    >>> integers(torch.tensor([1.0, 0.5, 0.0]), steps=3)
    tensor([3, 2, 0])
    """
    with torch.no_grad():
        scaled: Tensor = magnitude * steps
        return scaled.round().long()


def straight_through(
    weight: Float[Tensor, "*weights"], rounded: Float[Tensor, "*weights"]
) -> Float[Tensor, "*weights"]:
    """The rounded weight forward, the identity backward."""
    with torch.no_grad():
        error = rounded - weight
    return weight + error
