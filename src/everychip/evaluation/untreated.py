"""Chips to which nothing is done after programming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from everychip.hardware.chip import Purpose
from everychip.hardware.placement import Placed
from everychip.network.together import stacked


@dataclass(frozen=True)
class Untreated:
    """Gives the chip of a number, or several of them at once.

    >>> import everychip as ec, torch
    >>> hardware = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> chips = Untreated(Placed.of(torch.nn.Linear(4, 2), hardware), seed=0, purpose="evaluate")
    >>> torch.equal(chips.together([3, 8])["weight"][1], chips(8)["weight"])
    True
    """

    placed: Placed
    seed: int
    purpose: Purpose

    def __call__(self, chip: int) -> dict[str, Tensor]:
        """The programmed tensors of one chip by name."""
        return self.placed.program(seed=self.seed, path=(self.purpose, chip))

    def together(self, chips: Sequence[int]) -> dict[str, Tensor]:
        """Those of several chips, [chips, …] under every name; the same bits.

        Raises:
            NotTogetherError: chips on tiles.
        """
        if any(one.array is not None for one in self.placed.own.values()):
            return stacked([self(chip) for chip in chips])
        return self.placed.program_together(seed=self.seed, paths=[(self.purpose, chip) for chip in chips])
