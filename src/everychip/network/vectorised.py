"""A network's forward over several chips in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from everychip.data.inputs import Inputs, as_call
from everychip.network.eager import is_compiled

Vectorised = Callable[[dict[str, Tensor], Inputs], Any]
"""What all chips answer for one batch, chips first: of tensors [chips, …] by name, and the batch."""
_INSIDE = "_orig_mod"
_compiled: WeakKeyDictionary[nn.Module, Vectorised] = WeakKeyDictionary()
"""By network, so that a second evaluation finds what the first one compiled."""


def vectorised(model: nn.Module) -> Vectorised:
    """The forward of a network as a function of stacked chips; compiled, if the network is.

    Args:
        model: the network.

    Returns:
        A function that compiles once for each number of chips and each size of a batch.

    >>> model = nn.Linear(4, 2)
    >>> chips = {"weight": torch.zeros(3, 2, 4), "bias": torch.tensor([[0.0, 1.0]] * 3)}
    >>> vectorised(model)(chips, torch.ones(5, 4)).shape
    torch.Size([3, 5, 2])
    """
    if not is_compiled(model):
        return _over_chips(ref(model))
    if model not in _compiled:
        _compiled[model] = torch.compile(_over_chips(ref(model)), dynamic=False)
    return _compiled[model]


def _over_chips(known: ref[nn.Module]) -> Vectorised:
    def one(chip: dict[str, Tensor], x: Inputs) -> Any:
        model = known()
        assert model is not None
        args, named = as_call(x)
        # The network inside of what `torch.compile` returned, which older compilers lose from sight.
        inside = {name.removeprefix(f"{_INSIDE}."): tensor for name, tensor in chip.items()}
        return functional_call(getattr(model, _INSIDE, model), inside, args, named, tie_weights=False)

    every: Vectorised = vmap(one, in_dims=(0, None))
    return every
