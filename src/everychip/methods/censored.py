"""Training on right-censored noise, for the worst chips instead of the mean one."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.devices.base import standard_normal
from everychip.errors import ConfigError
from everychip.hardware.hardware import Hardware
from everychip.hardware.layers import must_be_alike
from everychip.mapping import Columns
from everychip.methods.base import Method, Objective


class Censored(Method):
    """Right-censored Gaussian noise (TRICE): L = CE(z, y), z of weights W + min(N(0, 1), th)·σ_t·max|W|.

    threshold: th, in units of σ_t, at most 10 (the authors' code searches 0.5, 0.7, 1, 1.5, 2). ratio: σ_t
    over the device's own σ_W / max|W| in each layer (its rms over the layer's weights); the paper searches
    σ_t, too: everychip.training.search does both on validation chips. All weights of a layer get the
    same σ_t, whatever the device's law. mean_corrected: subtract the noise's negative mean, th·(1 − Φ(th)) −
    φ(th), −0.083 σ_t at th = 1: the control for a mere shift of all weights. The noise is that of whole
    weights, so that an array which converts every digit alone is refused.
    Cost: 1 forward per step.

    Source: Yan et al., ICCAD 2023, arXiv 2307.15853.

    >>> round(Censored().mean, 4)
    -0.0833
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    any_task: ClassVar[bool] = True

    threshold: Annotated[float, Field(gt=0, le=10)] = 1.0
    ratio: Annotated[float, Field(gt=0)] = 1.0
    mean_corrected: bool = False

    @property
    def mean(self) -> float:
        """E[min(N(0, 1), th)], in units of σ_t."""
        th = self.threshold
        density = math.exp(-(th**2) / 2) / math.sqrt(2 * math.pi)
        return th * 0.5 * math.erfc(th / math.sqrt(2)) - density

    def validate_for(self, hardware: Hardware, sample: Tensor | None) -> None:
        """The noise is one number for each weight, so no array may ask for that of every digit."""
        must_be_alike(hardware.layers, "method censored")
        if hardware.array is None or not hardware.mapping.has_digits:
            return
        if hardware.array.shift_add != "analog":
            raise ConfigError(
                "method censored",
                found="an array that converts every digit of a weight alone",
                expected="one that converts whole weights, as the noise is theirs",
                remedy='hardware.array.shift_add = "analog", or mapping.quantize = false',
            )

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return objective.criterion(objective.runner.logits(self.chip(objective), x), y)

    def chip(self, objective: Objective) -> dict[str, Tensor]:
        """The weights of this step under censored noise; ramp and noise gradient as for every method.

        Args:
            objective: the method bound to its model.

        Returns:
            Programmed weights by name.
        """
        # The scale is that of the nominal device, whatever each die has of its own.
        nominal, shift = objective.hardware, self.mean if self.mean_corrected else 0.0

        def draw(weight: Tensor, _die: Hardware, rng: torch.Generator, columns: Columns) -> Tensor:
            unit = standard_normal(weight.detach(), rng).clamp_(max=self.threshold).sub_(shift)
            return unit * _rms(nominal.mapping.std(weight, nominal.device, columns=columns)) * self.ratio

        return objective.placed.program(
            seed=objective.seed,
            path=("censored", *objective.address),
            strength=objective.strength,
            gradient=self.noise_gradient,
            draw=draw,
        )


def _rms(std: Tensor) -> Tensor:
    """The root mean square, with a gradient of 0 where it is 0 (no noise, or a layer of zeros)."""
    square = std.square().mean()
    return torch.where(square > 0, square, torch.ones_like(square)).sqrt() * (square > 0)
