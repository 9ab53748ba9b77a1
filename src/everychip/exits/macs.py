"""What each output of a network with exits costs: multiplications and layers up to it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from everychip.exits.multi_exit import MultiExit
from everychip.network.macs import trace


@dataclass(frozen=True)
class OutputCost:
    """The cost of an input that leaves at each output, the exits' first, the combination last.

    macs: multiply-accumulates of the backbone up to there and of every head on the way. layers: matrices.
    """

    macs: tuple[int, ...]
    layers: tuple[int, ...]

    def mean_macs(self, shares: list[float]) -> float:
        """The MACs an input takes on average, where `shares` of the inputs leave at each output."""
        return sum(share * macs for share, macs in zip(shares, self.macs, strict=True))


def output_cost(network: MultiExit, sample: Tensor) -> OutputCost:
    """Count them on one input.

    >>> import torch
    >>> net = MultiExit(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)),
    ...                 torch.ones(2, 8), where=["1"], hidden=5)
    >>> output_cost(net, torch.ones(2, 8)).macs == (8 * 16 + 16 * 5 + 5 * 4, 8 * 16 + 16 * 5 + 5 * 4 + 16 * 4)
    True
    """
    traced = trace(network, sample[:1])
    after = {call.name: call.after for call in traced.calls}
    heads = [f"exits.heads.{name}." for name in network.exits.heads]
    macs, layers, of_heads, head_layers = [], [], 0, 0
    order = [name for name in traced.by_parameter if name.startswith("backbone.")]
    for position, head in zip(network.exits.positions, heads, strict=True):
        own = {name: count for name, count in traced.by_parameter.items() if name.startswith(head)}
        of_heads, head_layers = of_heads + sum(own.values()), head_layers + len(own)
        before = after[f"backbone.{position}"]
        macs.append(before + of_heads)
        layers.append(_layers_within(traced.by_parameter, order, before) + head_layers)
    total = sum(traced.by_parameter[name] for name in order) + traced.between_activations
    return OutputCost((*macs, total + of_heads), (*layers, len(order) + head_layers))


def _layers_within(by_parameter: object, order: list[str], macs: int) -> int:
    spent, layers = 0, 0
    for name in order:
        spent += by_parameter[name]  # type: ignore[index]
        if spent > macs:
            break
        layers += 1
    return layers
