"""Several effects on the same cell, one after the other."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.devices.ageing import duration
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

    @property
    def needs_cells(self) -> bool:  # type: ignore[override]
        """Whether one of the effects is one of a whole cell."""
        return any(device.needs_cells for device in self.devices)

    @property
    def levels(self) -> int | None:  # type: ignore[override]
        """How many states the cells have, where one of the effects says so."""
        return next((device.levels for device in self.devices if device.levels is not None), None)

    @property
    def ages(self) -> bool:
        """Whether one of the effects does."""
        return any(device.ages for device in self.devices)

    @property
    def time(self) -> float | None:
        """The time at which the effects that age are read, in seconds."""
        return next((device.age for device in self.devices if device.ages), None)

    @property
    def label(self) -> str:
        """The name, and the time where an effect ages; without a name, the labels of all effects then."""
        if self.time is None:
            return super().label
        if self.name is not None:
            return f"{self.name} at {duration(self.time)}"
        return " + ".join(device.label for device in self.devices)

    @property
    def ageless_label(self) -> str:
        """The name, or the labels of all effects without a time."""
        if self.name is not None or not self.ages:
            return super().ageless_label
        return " + ".join(device.ageless_label for device in self.devices)

    def at(self, time: float) -> Self:
        """The same effects at another time since programming, in seconds, for those that age."""
        if not self.ages:
            return super().at(time)
        return self.replace(devices=tuple(d.at(time) if d.ages else d for d in self.devices))

    def on_die(self, rng: torch.Generator) -> Self:
        """The same effects on one die."""
        found = tuple(device.on_die(rng) for device in self.devices)
        same = all(a is b for a, b in zip(found, self.devices, strict=True))
        return self if same else self.replace(devices=found)

    def deviation(self, g: Float[Tensor, "*cells"], rng: torch.Generator) -> Float[Tensor, "*cells"]:
        programmed = g
        for device in self.devices:
            programmed = device.program(programmed, rng)
        return programmed - g

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The variances added at the target conductance: exact for additive effects, else to first order."""
        return torch.stack([device.std(g).square() for device in self.devices]).sum(dim=0).sqrt()
