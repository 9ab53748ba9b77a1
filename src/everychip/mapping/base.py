"""What every mapping is: weights onto conductances and back."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from everychip.component import Component
from everychip.devices import Device
from everychip.devices.base import standard_normal


class CellMapping(Component, family="mapping"):
    """How the weights of a layer become conductances. Pure: it returns new tensors."""

    has_digits: ClassVar[bool] = False
    """Whether cells hold digits, so that a device may look up the level of each cell."""

    def target(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*weights"]:
        """The weights that perfect cells would hold."""
        return weight

    @abstractmethod
    def deviation(
        self, weight: Float[Tensor, "*weights"], device: Device, rng: torch.Generator
    ) -> Float[Tensor, "*weights"]:
        """One draw of the programmed weights less their target, in the weights' own unit."""

    @abstractmethod
    def std(self, weight: Float[Tensor, "*weights"], device: Device) -> Float[Tensor, "*weights"]:
        """The standard deviation σ_W of every programmed weight, in the weights' own unit."""


def full_scale(weight: Float[Tensor, "*weights"]) -> Float[Tensor, ""]:
    """The weight that G_max stands for: max|W| of the layer, so that a layer of zeros has no noise.

    >>> import torch
    >>> full_scale(torch.tensor([[0.5, -2.0]]))
    tensor(2.)
    """
    return weight.abs().amax()


def conductance(weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*weights"]:
    """The magnitudes as fractions of G_max: g = |W| / max|W|, and 0 in a layer of zeros.

    >>> import torch
    >>> conductance(torch.tensor([[0.5, -2.0]]))
    tensor([[0.2500, 1.0000]])
    """
    scale = full_scale(weight)
    return weight.abs() / torch.where(scale > 0, scale, torch.ones_like(scale))


def sign(weight: Tensor) -> Tensor:
    """+1 or −1; a zero weight counts as positive, because its cell is there and is noisy, too."""
    return torch.where(weight < 0, -1.0, 1.0).to(weight.dtype)


def whole_weight_deviation(weight: Tensor, device: Device, rng: torch.Generator, factor: float) -> Tensor:
    """The deviation when the magnitude of each weight is read as one conductance, times `factor`."""
    scale = full_scale(weight)
    if device.uniform_std is not None:
        return standard_normal(weight, rng).mul_(scale * (factor * device.uniform_std))
    deviation = device.deviation(conductance(weight), rng) * (scale * factor)
    return deviation if device.symmetric else deviation * sign(weight)


def whole_weight_std(weight: Tensor, device: Device, factor: float) -> Tensor:
    """The closed form of the standard deviation that `whole_weight_deviation` draws."""
    return device.std(conductance(weight)) * (full_scale(weight) * factor)
