"""A network's forward over several chips in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from everychip.data.inputs import Inputs, as_call
from everychip.network.eager import is_compiled
from everychip.network.side_by_side import answered_side_by_side

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
        return _known_functions_first(ref(model))
    if model not in _compiled:
        _compiled[model] = torch.compile(_over_chips(ref(model)), dynamic=False)
    return _compiled[model]


def _over_chips(known: ref[nn.Module]) -> Vectorised:
    every: Vectorised = vmap(_one(known), in_dims=(0, None))
    return every


def _one(known: ref[nn.Module]) -> Callable[[Mapping[str, Tensor], Inputs], Any]:
    """The network's answer with the tensors of one chip, and the same names."""

    def one(chip: Mapping[str, Tensor], x: Inputs) -> Any:
        model = known()
        assert model is not None
        args, named = as_call(x)
        # The network inside of what `torch.compile` returned, which older compilers lose from sight.
        inside = {name.removeprefix(f"{_INSIDE}."): tensor for name, tensor in chip.items()}
        return functional_call(getattr(model, _INSIDE, model), inside, args, named, tie_weights=False)

    return one


def _known_functions_first(known: ref[nn.Module]) -> Vectorised:
    """Chips side by side on a CPU, until the network calls a function that is not known there."""
    every, one, vmapped = _over_chips(known), _one(known), False

    def run(chips: dict[str, Tensor], x: Inputs) -> Any:
        nonlocal vmapped
        if not vmapped and all(held.device.type == "cpu" for held in chips.values()):
            try:
                return answered_side_by_side(one, chips, x)
            except Exception:  # noqa: BLE001 - whatever it is, vmap is asked, and says so if it cannot either
                vmapped = True
        return every(chips, x)

    return run
