"""Gated recurrent layers of several chips, step after step in products of matrices over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def gru_of_chips(
    x: Float[Tensor, "chips n steps features"],
    start: Float[Tensor, "chips cells n hidden"],
    weights: Sequence[Tensor],
    *,
    biases: bool,
    directions: int,
) -> tuple[Float[Tensor, "chips n steps states"], Float[Tensor, "chips cells n hidden"]]:
    """What `torch.gru` answers in evaluation, for every chip with its own weights.

    r = σ(W_ir·x + b_ir + W_hr·h + b_hr), z = σ(W_iz·x + b_iz + W_hz·h + b_hz),
    h̃ = tanh(W_in·x + b_in + r·(W_hn·h + b_hn)), h' = h̃ + z·(h − h̃).

    Args:
        x: the sequences.
        start: h before the first step, for each layer and direction.
        weights: for each layer and direction W_i, W_h and, with biases, b_i, b_h, each r, z, n in this order;
            [chips, …] each.
        biases: whether there are any.
        directions: 1, or 2 for layers that read both ways.

    Returns:
        The states of the last layer at every step, both directions beside each other, and h after the last.

    Source: Cho et al., EMNLP 2014, in the form of PyTorch's documentation.
    """
    last, each = [], 4 if biases else 2
    for layer in range(start.shape[1] // directions):
        read = []
        for backwards in range(directions):
            cell = layer * directions + backwards
            own = weights[cell * each : (cell + 1) * each]
            states = _one_way(x.flip(2) if backwards else x, start[:, cell], *own)
            last.append(states[:, :, -1])
            read.append(states.flip(2) if backwards else states)
        x = torch.cat(read, dim=-1)
    return x, torch.stack(last, dim=1)


def _one_way(
    x: Tensor, h: Tensor, w_i: Tensor, w_h: Tensor, b_i: Tensor | None = None, b_h: Tensor | None = None
) -> Tensor:
    """The state after each step, in the order of the steps."""
    read = _product(x.flatten(1, 2), w_i, b_i).view(*x.shape[:3], -1)
    states = []
    for step in read.unbind(2):
        r_x, z_x, n_x = step.chunk(3, dim=-1)
        r_h, z_h, n_h = _product(h, w_h, b_h).chunk(3, dim=-1)
        new = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        h = new + torch.sigmoid(z_x + z_h) * (h - new)
        states.append(h)
    return torch.stack(states, dim=2)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
