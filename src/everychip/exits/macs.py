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


@dataclass(frozen=True)
class Route:
    """Which matrices lead to one output, by parameter name in the order of use, and what they multiply.

    backbone: those up to where the output is taken. head: its own, none of the backbone. macs: of the
    backbone up to there, products between activations included. head_macs: of the head.
    """

    name: str
    backbone: tuple[str, ...]
    head: tuple[str, ...]
    macs: int
    head_macs: int


def routes(network: MultiExit, sample: Tensor) -> tuple[Route, ...]:
    """The way to each output, the exits' first, the backbone's last, from one forward of one input.

    >>> import torch
    >>> net = MultiExit(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)),
    ...                 torch.ones(2, 8), where=["1"], hidden=5)
    >>> [(route.name, len(route.backbone), len(route.head)) for route in routes(net, torch.ones(2, 8))]
    [('exit 1', 1, 2), ('last', 2, 0)]
    """
    traced = trace(network, sample[:1])
    ended = {call.name: place for place, call in enumerate(traced.calls)}
    spent = {call.name: call.after for call in traced.calls}
    ordered = [name for name in traced.by_parameter if name.startswith("backbone.")]
    found = []
    pairs = zip(network.exits.positions, network.exits.heads, strict=True)
    for n, (position, head) in enumerate(pairs, start=1):
        place = ended[f"backbone.{position}"]
        # A matrix whose module has not returned by then may still be used later, and is not counted.
        before = [name for name in ordered if ended.get(name.rpartition(".")[0], len(ended)) <= place]
        own = [name for name in traced.by_parameter if name.startswith(f"exits.heads.{head}.")]
        macs = spent[f"backbone.{position}"]
        head_macs = sum(traced.by_parameter[name] for name in own)
        found.append(Route(f"exit {n}", tuple(before), tuple(own), macs, head_macs))
    # The heads' pools are averages, whichever way they are computed: only their matrices count.
    return (*found, Route("last", tuple(ordered), (), spent["backbone"], 0))


def output_cost(network: MultiExit, sample: Tensor) -> OutputCost:
    """Count them on one input.

    >>> import torch
    >>> net = MultiExit(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)),
    ...                 torch.ones(2, 8), where=["1"], hidden=5)
    >>> output_cost(net, torch.ones(2, 8)).macs == (8 * 16 + 16 * 5 + 5 * 4, 8 * 16 + 16 * 5 + 5 * 4 + 16 * 4)
    True
    """
    macs, layers, of_heads, head_layers = [], [], 0, 0
    for route in routes(network, sample):
        of_heads, head_layers = of_heads + route.head_macs, head_layers + len(route.head)
        macs.append(route.macs + of_heads)
        layers.append(len(route.backbone) + head_layers)
    return OutputCost(tuple(macs), tuple(layers))
