"""Training on right-censored noise, for the worst chips instead of the mean one."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from everychip.chip import run
from everychip.devices.base import standard_normal
from everychip.methods.base import Method, Objective
from everychip.methods.losses import full_precision
from everychip.rng import rng_for
from everychip.straight_through import with_clean_gradient


class Censored(Method):
    """Right-censored Gaussian noise (TRICE): L = CE(z, y), z of weights W + min(N(0, 1), th)·σ_t·max|W|.

    threshold: th, in units of σ_t (the authors' code searches 0.5, 0.7, 1, 1.5, 2). ratio: σ_t over the
    device's own σ_W / max|W| in each layer (its rms over the layer's weights); the paper searches σ_t, too:
    `everychip.tuning.search` does both on validation chips. All weights of a layer get the same σ_t,
    whatever the device's law. mean_corrected: subtract the noise's negative mean, th·(1 − Φ(th)) − φ(th),
    −0.083 σ_t at th = 1: the control for a mere shift of all weights.
    Cost: 1 forward per step.

    Source: Yan et al., ICCAD 2023, arXiv 2307.15853.

    >>> round(Censored().mean, 4)
    -0.0833
    """

    threshold: float = 1.0
    ratio: Annotated[float, Field(gt=0)] = 1.0
    mean_corrected: bool = False

    @property
    def mean(self) -> float:
        """E[min(N(0, 1), th)], in units of σ_t."""
        th = self.threshold
        density = math.exp(-(th**2) / 2) / math.sqrt(2 * math.pi)
        return th * 0.5 * math.erfc(th / math.sqrt(2)) - density

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        return self.cross_entropy(run(objective.model, self.chip(objective), x), y)

    def chip(self, objective: Objective) -> dict[str, Tensor]:
        """The weights of this step under censored noise; ramp and noise gradient as for every method."""
        shift, gradient = self.mean if self.mean_corrected else 0.0, self.noise_gradient
        mapping = objective.hardware.mapping
        programmed = {}
        for name, weight in objective.weights.items():
            rng = rng_for(objective.seed, "censored", *objective.address, name, device=weight.device)
            full = full_precision(weight)
            unit = standard_normal(full.detach(), rng).clamp_(max=self.threshold).sub_(shift)
            with torch.set_grad_enabled(gradient == "pathwise"):
                std = mapping.std(full, objective.hardware.device, columns=objective.columns[name])
                sigma = std.square().mean().sqrt()
                deviation = unit * sigma * self.ratio
            target = mapping.target(full, columns=objective.columns[name]).to(weight.dtype)
            noisy = torch.add(target, deviation, alpha=objective.strength).to(weight.dtype)
            programmed[name] = with_clean_gradient(target, noisy) if gradient == "clean" else noisy
        return programmed
