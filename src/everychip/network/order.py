"""Which matrix of a model is the first and which the last: the order in which a forward pass uses them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from everychip.data.inputs import Inputs, taken
from everychip.network.macs import trace


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
