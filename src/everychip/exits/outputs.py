"""Every output of a network with exits, for one chip: what policies and thresholds are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from everychip.exits.multi_exit import MultiExit


class _AllOutputs(nn.Module):
    """A network with exits that answers with all its logits; it holds the same tensors under longer names."""

    def __init__(self, network: MultiExit) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Any) -> Tensor:
        return self.network.all_logits(x)


def all_outputs(
    network: MultiExit, chip: Mapping[str, Tensor], x: Any
) -> Float[Tensor, "outputs images classes"]:
    """The logits of every output of one chip for one batch, the exits' first, the backbone's last.

    Args:
        network: the network with exits, in the mode it is in.
        chip: programmed tensors by the network's parameter names; empty, the digital network.
        x: a batch of n inputs as the network takes it.

    Returns:
        N + 1 rows of logits for each input, in the order of `network.combination`.

    >>> import torch
    >>> net = MultiExit(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.ones(2, 8))
    >>> all_outputs(net, {}, torch.ones(3, 8)).shape
    torch.Size([2, 3, 4])
    """
    held = {f"network.{name}": tensor for name, tensor in chip.items()}
    result: Tensor = functional_call(_AllOutputs(network), held, (x,), tie_weights=False)
    return result
