"""Several effects on the same cell, one after the other."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.devices.base import Device


class Sequence(Device):
    """Devices applied in order, each to the conductance the one before it left: g' = dₙ(… d₂(d₁(g))).

    devices: the effects, first one first.

    Source: this project's own.

    >>> from everychip.devices import Gaussian, Mismatch
    >>> import torch
    >>> both = Sequence(devices=(Mismatch(sigma=0.3), Gaussian(sigma=0.4)))
    >>> both.std(torch.tensor([1.0]))
    tensor([0.5000])
    """

    devices: Annotated[tuple[Device, ...], Field(min_length=1)]

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """A sequence is symmetric where all its effects are."""
        return all(device.symmetric for device in self.devices)

    @property
    def needs_digits(self) -> bool:  # type: ignore[override]
        """Whether one of the effects reads the digits of the cells."""
        return any(device.needs_digits for device in self.devices)

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        programmed = g
        for device in self.devices:
            programmed = device.program(programmed, rng)
        return programmed - g

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The variances added at the target conductance: exact for additive effects, else to first order."""
        return torch.stack([device.std(g).square() for device in self.devices]).sum(dim=0).sqrt()
