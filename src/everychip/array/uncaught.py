"""Layers whose products cannot be caught, because one fused kernel hides them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from everychip.errors import ArrayError

FUSED: tuple[type[nn.Module], ...] = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.EmbeddingBag)


def must_be_caught(name: str, owners: Iterable[tuple[str, nn.Module]]) -> None:
    """Refuse a parameter of a layer that would compute past the array, and so without its converters.

    >>> must_be_caught("weight", [("", nn.Linear(4, 2))])
    >>> must_be_caught("rnn.weight_ih_l0", [("rnn", nn.GRU(4, 2))])
    Traceback (most recent call last):
    everychip.errors.ArrayError: rnn.weight_ih_l0: found nn.GRU, whose fused kernel hides its products from
    the array; expected layers that multiply by linear, convolution, matmul or attention; keep it digital,
    hardware.digital = ["rnn"], or leave [hardware.array] out
    """
    for owner, module in owners:
        if isinstance(module, FUSED):
            raise ArrayError(
                name,
                found=f"nn.{type(module).__name__}, whose fused kernel hides its products from the array",
                expected="layers that multiply by linear, convolution, matmul or attention",
                remedy=f'keep it digital, hardware.digital = ["{owner or name}"], '
                "or leave [hardware.array] out",
            )
