"""A loop in which the model is one chip after another, for evaluation code that cannot be changed."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from everychip.config.arguments import index, takes, whole
from everychip.hardware.arguments import HARDWARE, MODEL
from everychip.hardware.hardware import Hardware
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


@takes(model=MODEL, hardware=HARDWARE, count=whole(least=1), seed=index)
def chips(model: nn.Module, hardware: Hardware, *, count: int = 20, seed: int = 0) -> Iterator[EachChip]:
    """Go through chips, each of them in place of the model's weights while the loop's body runs.

    The body may hand the model to any code, which finds an ordinary module with a chip's weights; no gradient
    reaches the model's own. When the body ends, by the next chip, by `break` or by an exception, the model is
    what it was, to the bit. Other threads that run the model through everychip wait until the loop has ended;
    programming or training the model inside the loop is refused, for it would begin from a chip.

    Args:
        model: any module; put into evaluation mode by whoever runs it.
        hardware: what it is programmed into.
        count: chips 0 … count − 1, those of `evaluate` with the same seed.
        seed: of all draws.

    Returns:
        An iterator of `EachChip`.

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
    return _each(model, Placed.of(model, hardware), count, operator.index(seed))


def _each(model: nn.Module, placed: Placed, count: int, seed: int) -> Iterator[EachChip]:
    for number in range(count):
        held = placed.program(seed=seed, path=("evaluate", number))
        with exclusive(model), _in_place(model, held), eager_on(model, held.values()):
            yield EachChip(number, seed, held)


@contextmanager
def _in_place(model: nn.Module, held: Mapping[str, Tensor]) -> Iterator[None]:
    """The chip's tensors in every module that holds one of the model's; the model's own afterwards."""
    modules, aliases = dict(model.named_modules()), Runner(model).aliases
    own: list[tuple[nn.Module, str, nn.Parameter | None]] = []
    try:
        for name, tensor in held.items():
            chip = tensor.detach()
            for alias in aliases.get(name, (name,)):
                prefix, _, leaf = alias.rpartition(".")
                module = modules[prefix]
                own.append((module, leaf, module._parameters[leaf]))
                module._parameters[leaf] = chip
        with holding_a_chip(model):
            yield
    finally:
        for module, leaf, parameter in reversed(own):
            module._parameters[leaf] = parameter
