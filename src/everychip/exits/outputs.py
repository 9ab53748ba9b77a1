"""Every output of a network with exits, for one chip: what policies and thresholds are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from everychip.exits.multi_exit import MultiExit
from everychip.network.modes import evaluating
from everychip.network.running import Runner


class _AllOutputs(nn.Module):
    """A network with exits that answers with all its logits; it holds the same tensors by the same names."""

    def __init__(self, network: MultiExit) -> None:
        super().__init__()
        # Shared dictionaries: whatever replaces a tensor in one (a chip) replaces it in both.
        for kept in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(self, kept, getattr(network, kept))
        object.__setattr__(self, "network", network)

    network: MultiExit

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
    return running_all_outputs(network).logits(chip, x)


def running_all_outputs(network: MultiExit, *, batch_size: int = 500) -> Runner:
    """How a network with exits is run for all its outputs, once for all its chips.

    Args:
        network: the network with exits.
        batch_size: the number of inputs run at once.
    """
    return Runner(_AllOutputs(network), batch_size=batch_size)


@torch.no_grad()
def predict_all_outputs(
    runner: Runner, chip: Mapping[str, Tensor], x: Tensor
) -> Float[Tensor, "outputs images classes"]:
    """The logits of every output of one chip for all inputs, in evaluation mode.

    Args:
        runner: of all outputs, as `running_all_outputs` makes it.
        chip: programmed tensors by the network's parameter names; empty, the digital network.
        x: all inputs, as many as there are.
    """
    with evaluating(runner.model):
        return torch.cat([runner.logits(chip, batch) for batch in runner.batches(x)], dim=1)
