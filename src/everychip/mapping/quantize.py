"""Uniform quantisation of magnitudes, with a straight-through gradient."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from everychip.mapping.base import conductance, full_scale, sign


def integers(weight: Float[Tensor, "*weights"], *, bits: int) -> Int[Tensor, "*weights"]:
    """The magnitudes as integers 0 … 2^bits − 1, in units of one step of max|W|.

    >>> import torch
    >>> integers(torch.tensor([1.0, -0.5, 0.0]), bits=2)
    tensor([3, 2, 0])
    """
    with torch.no_grad():
        steps: Tensor = conductance(weight) * (2**bits - 1)
        return steps.round().long()


def quantize(weight: Float[Tensor, "*weights"], *, bits: int) -> Float[Tensor, "*weights"]:
    """The nearest of 2^bits − 1 steps of either sign up to max|W|; the gradient passes straight through.

    >>> import torch
    >>> quantize(torch.tensor([1.0, -0.5, 0.1]), bits=2)
    tensor([ 1.0000, -0.6667,  0.0000])
    """
    with torch.no_grad():
        step = full_scale(weight) / (2**bits - 1)
        error: Tensor = sign(weight) * integers(weight, bits=bits) * step - weight
    return weight + error
