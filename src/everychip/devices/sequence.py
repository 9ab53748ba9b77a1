"""Several effects on the same cell, one after the other."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Annotated, Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.devices.ageing import duration
from everychip.devices.base import Device
from everychip.devices.physical import Moments


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
        """Only where the first effect is symmetric and all that follow add the same noise everywhere.

        An effect that reads the conductance scales up what went up before: σ·N, then 1 + ζ·N, is skewed.
        """
        first, *others = self.devices
        return first.symmetric and all(device.additive for device in others)

    @property
    def averages(self) -> bool:
        """Whether the errors of slices add up to one of the whole weight: where those of every effect do."""
        return all(device.averages for device in self.devices)

    def sliced(self, factor: float) -> Self:
        """The same effects in place of slices: each effect by its own nature."""
        return self.replace(devices=tuple(device.sliced(factor) for device in self.devices))

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

    def mean(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return self._moments(g).mean

    def std(self, g: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """σ after the last effect: exact where a later effect's mean is linear and variance quadratic in g.

        So they are of Gaussian, mismatch, log-normal and stuck-at, in any order; of others, what the effects
        before have left is taken to be Gaussian (σ within 2 % after levels that jump).
        """
        return self._moments(g).std

    def _moments(self, g: Tensor) -> Moments:
        """Total variance, effect by effect: E[σ²(x)] + Var[m(x)] over what the effects before left, x."""
        first, *others = self.devices
        mean, variance = first.mean(g), first.std(g).square()
        for device in others:
            spread, nodes = _root(variance), (_THREE if _is_quadratic(device) else _MANY)
            found = [(weight, mean + place * spread) for weight, place in nodes]
            means = [(weight, device.mean(x)) for weight, x in found]
            mean = _weighted(means)
            within = _weighted([(weight, device.std(x).square()) for weight, x in found])
            variance = within + _weighted([(weight, (m - mean).square()) for weight, m in means])
        return Moments(mean, _root(variance))


def _equally_likely(count: int) -> tuple[tuple[float, float], ...]:
    """Quantiles of the normal law in the middle of equal shares, brought to a variance of 1."""
    places = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    scale = math.sqrt(sum(place**2 for place in places) / count)
    return tuple((1 / count, place / scale) for place in places)


_THREE = ((2 / 3, 0.0), (1 / 6, -math.sqrt(3)), (1 / 6, math.sqrt(3)))
"""Weights and places of Gauss–Hermite's three nodes: the mean and variance of x are all a quadratic needs."""
_MANY = _equally_likely(101)


def _is_quadratic(device: Device) -> bool:
    """Whether its mean is linear and its variance quadratic in the conductance, also outside of 0 … 1."""
    g = torch.linspace(-1, 2, 61, dtype=torch.float64)
    bends = (device.mean(g).diff(n=2), device.std(g).square().diff(n=3))
    return all(float(bend.abs().max()) < 1e-9 for bend in bends)


def _weighted(values: list[tuple[float, Tensor]]) -> Tensor:
    first, *others = (weight * value for weight, value in values)
    return sum(others, first)


def _root(square: Tensor) -> Tensor:
    """The square root, with a gradient of 0 where it is 0."""
    return torch.where(square > 0, square, torch.ones_like(square)).sqrt() * (square > 0)
