"""A loop in which the model is one chip after another, for evaluation code that cannot be changed."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from everychip.config.arguments import index, takes, whole
from everychip.errors import ModelError
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware
from everychip.hardware.outliers import warn_of_layer_scale
from everychip.hardware.placement import Placed
from everychip.network.eager import eager_on
from everychip.network.exclusive import exclusive, holding_a_chip
from everychip.network.running import Runner
from everychip.network.soundness import must_be_finite


@dataclass(frozen=True)
class EachChip:
    """One chip of the loop: its number, its seed, and what the hardware holds, by parameter name."""

    number: int
    seed: int
    weights: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class EachOfChips:
    """What `chips` returns: `for` goes through it, each time from chip 0 on."""

    model: nn.Module = field(repr=False)
    placed: Placed = field(repr=False)
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[EachChip]:
        # A `for` owns its generator and drops it as it ends, whoever keeps what `chips` returned.
        for number in range(self.count):
            held = self.placed.program(seed=self.seed, path=("evaluate", number))
            with exclusive(self.model), _in_place(self.model, held), eager_on(self.model, held.values()):
                yield EachChip(number, self.seed, held)


@takes(model=MODEL, hardware=HARDWARE, count=whole(least=1), seed=index)
def chips(model: nn.Module, hardware: Hardware, *, count: int = 20, seed: int = 0) -> EachOfChips:
    """Go through chips, each of them in place of the model's weights while the loop's body runs.

    The body may hand the model to any code, which finds an ordinary module with a chip's weights; no gradient
    reaches the model's own. When the body ends, by the next chip, by `break` or by an exception, the model is
    what it was, to the bit. It is a chip for the thread of the loop alone: other threads that run the model
    through everychip wait until the loop has ended, and those that call it are refused with a `ModelError`.
    Programming or training the model inside the loop is refused, for it would begin from a chip.

    Args:
        model: any module; put into evaluation mode by whoever runs it.
        hardware: what it is programmed into.
        count: chips 0 … count − 1, those of `evaluate` with the same seed.
        seed: of all draws.

    Returns:
        What `for` goes through, one `EachChip` after the other.

    >>> import torch, everychip as ec
    >>> model, x = torch.nn.Linear(4, 2), torch.ones(1, 4)
    >>> clean = model(x)
    >>> hw = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> [(chip.number, torch.equal(model(x), clean)) for chip in ec.chips(model, hw, count=2)]
    [(0, False), (1, False)]
    >>> torch.equal(model(x), clean)
    True
    """
    must_be_finite(model.named_parameters())
    placed = Placed.of(model, hardware)
    warn_of_layer_scale(placed, stacklevel=3)
    return EachOfChips(model, placed, operator.index(count), operator.index(seed))


@contextmanager
def _in_place(model: nn.Module, held: Mapping[str, Tensor]) -> Iterator[None]:
    """The chip's tensors in every module that holds one of the model's; the model's own afterwards."""
    modules, aliases = dict(model.named_modules()), Runner(model).aliases
    own: dict[str, dict[str, Any]] = {}
    try:
        for name, tensor in held.items():
            chip = tensor.detach()
            for alias in aliases.get(name, (name,)):
                prefix, _, leaf = alias.rpartition(".")
                module = modules[prefix]
                if prefix not in own:
                    own[prefix] = module._parameters
                    module._parameters = _OfThisThread(module._parameters)
                module._parameters[leaf] = chip
        with holding_a_chip(model):
            yield
    finally:
        for prefix, parameters in own.items():
            modules[prefix]._parameters = parameters


class _OfThisThread(dict[str, Any]):
    """A module's parameters that are a chip's, for the thread of the loop; any other one is refused."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        self.thread = threading.get_ident()

    def __getitem__(self, name: str) -> Any:
        self._must_be_mine()
        return super().__getitem__(name)

    def items(self) -> Any:
        """As of any dict, for the thread of the loop."""
        self._must_be_mine()
        return super().items()

    def values(self) -> Any:
        """As of any dict, for the thread of the loop."""
        self._must_be_mine()
        return super().values()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is an ordinary dict: it belongs to no loop."""
        self._must_be_mine()
        return dict, (dict(super().items()),)

    def _must_be_mine(self) -> None:
        if threading.get_ident() != self.thread:
            raise ModelError(
                "ec.chips",
                found="a model that is a chip at the moment, called from another thread than the loop's",
                expected="calls from the thread of the loop",
                remedy="call it there, let the thread end first, or give the thread a copy.deepcopy made "
                "before the loop",
            )
