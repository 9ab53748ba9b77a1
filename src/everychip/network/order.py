"""In which order a forward pass uses the layers of a model, whatever the order of their definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
from torch import nn

from everychip.data.inputs import Inputs, taken
from everychip.network.macs import trace
from everychip.network.modes import evaluating, without_fast_path
from everychip.network.running import Runner
from everychip.rng import seeded_global_generator


def order_of_use(model: nn.Module, names: Iterable[str], sample: Inputs | None) -> list[str]:
    """The named parameters in the order in which a forward of the sample first multiplies by them.

    Without a sample, or where one of them takes part in no product (a table that is looked up), they stay in
    the order given, which for `Hardware.crossbar` is that of the model's definition.

    >>> import torch
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.head, self.body = nn.Linear(4, 2), nn.Linear(4, 4)
    ...     def forward(self, x):
    ...         return self.head(self.body(x))
    >>> order_of_use(Net(), ["head.weight", "body.weight"], torch.ones(2, 4))
    ['body.weight', 'head.weight']
    """
    given = list(names)
    if sample is None:
        return given
    used = [name for name in trace(model, taken(sample, slice(2))).by_parameter if name in given]
    return used if len(used) == len(given) else given


def followers(model: nn.Module, sample: Inputs | None) -> Mapping[nn.Module, nn.Module]:
    """The layer that comes after each layer, of those with parameters: the next that a forward pass calls.

    A layer that is called several times has one only if it is always the same. Without a sample, the order is
    that of the model's definition.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.a, self.b, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
    ...     def forward(self, x):
    ...         return self.b(self.norm(self.a(x)))
    >>> net = Net()
    >>> followers(net, torch.ones(2, 4))[net.a] is net.norm, followers(net, None)[net.a] is net.b
    (True, True)
    """
    layers = [module for module in model.modules() if module._parameters]
    if sample is None:
        return dict(pairwise(layers))
    after: dict[nn.Module, set[nn.Module]] = {}
    for layer, follower in pairwise(_called(model, layers, taken(sample, slice(2)))):
        after.setdefault(layer, set()).add(follower)
    return {layer: found.pop() for layer, found in after.items() if len(found) == 1}


def _called(model: nn.Module, layers: Iterable[nn.Module], x: Inputs) -> list[nn.Module]:
    """The layers in the order in which one forward pass in evaluation mode calls them."""
    calls: list[nn.Module] = []
    hooks = [layer.register_forward_pre_hook(lambda module, _: calls.append(module)) for layer in layers]
    runner = Runner(model)
    try:
        draws = seeded_global_generator(0, "order")
        with torch.no_grad(), evaluating(model), without_fast_path(), draws:
            runner.outputs({}, runner.placed(x))
    finally:
        for hook in hooks:
            hook.remove()
    return calls
