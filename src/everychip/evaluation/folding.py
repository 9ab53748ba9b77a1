"""Chips measured through a shorter forward: what may be run so, and that it answers the same."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from everychip.array import TiledWeight
from everychip.data import Examples
from everychip.evaluation.bench import Bench, Programmed
from everychip.hardware.hardware import Hardware
from everychip.network.folding import Folded, refused
from everychip.network.running import Precision
from everychip.rng import seeded_global_generator

ROUNDING: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1}
"""How far the answers may be apart, in units of their rms: what rounding leaves."""
_ARRAY = "an array, whose converters see the weights as they are programmed"


def must_fold(model: nn.Module, hardware: Hardware) -> None:
    """Refuse, before it is trained, a network that cannot be folded, or one on arrays.

    Raises:
        ConfigError: what `shortened` would refuse, but for a folded network that answers otherwise.
    """
    if hardware.arrays:
        raise refused(_ARRAY)
    Folded.of(model)


def shortened(
    bench: Bench, programmed: Programmed, folded: bool = True, *, seed: int
) -> tuple[Bench, Programmed]:
    """The bench with its network folded, once that has answered for a chip as the network does.

    Args:
        bench: the network and its test data.
        programmed: gives the chip of a number.
        folded: False leaves both as they are.
        seed: of all draws.

    Returns:
        The bench of the folded network, and its chips.

    Raises:
        ConfigError: weights on tiles, a stream, and a network that `network.folding` refuses or that answers
            otherwise when it is traced.
    """
    if not folded:
        return bench, programmed
    if not isinstance(bench.data, Examples):
        raise refused("a stream")
    first = programmed(0)
    if any(isinstance(tensor, TiledWeight) for tensor in first.values()):
        raise refused(_ARRAY)
    network = Folded.of(bench.runner.model)
    short = replace(bench, runner=replace(bench.runner, model=network.model))
    few = bench.data.take(slice(2))
    for before, after in ((first, network.chip(first)), ({}, {})):
        with seeded_global_generator(seed, "folding"):
            expected = bench.runner.predict(before, few)
        with seeded_global_generator(seed, "folding"):
            found = short.runner.predict(after, few)
        if not _agree(expected, found, rounding=ROUNDING[bench.runner.precision]):
            raise refused("a network that answers otherwise when torch.fx traces it")

    def chip(number: int) -> dict[str, Tensor]:
        return network.chip(programmed(number))

    return short, chip


def _agree(expected: Tensor, found: Tensor, *, rounding: float) -> bool:
    if expected.shape != found.shape:
        return False
    apart = (expected.double() - found.double()).abs().amax()
    return bool(apart <= rounding * expected.double().square().mean().sqrt())
