"""Training against the worst weights within reach."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from everychip.devices.base import standard_normal
from everychip.hardware.cells import strided_as
from everychip.methods.base import Method, Objective
from everychip.methods.probe import forward_frozen_stats, same_masks
from everychip.rng import rng_for


class AdversarialWeight(Method):
    """Adversarial weights: L = CE(z, y) + β·KL(f(Θ) ‖ f(Θ*)), Θ* = Θ + dW the worst found in |dW| ≤ ζ·m.

    beta: β. reach: ζ, without unit. relative: m = |W|, weight by weight (mismatch, as published), or
    m = max|W| of the layer. attack_steps: N sign-ascent steps of ζ·m/N on the divergence, from a start of
    `start`·m·N(0, 1), projected onto |dW| ≤ ζ·m. bound_gradient: whether backward sees that m depends on W
    (as in the authors' code), or dW as a constant. noise: whether z is that of a fresh chip ("forward
    noise"), or clean. f is the digital model; its forwards share the dropout masks of z. A ramp scales the
    noise of z, and never ζ. CE is the task's loss, and KL its own divergence (`Task.divergence`): of a
    regression the mean squared error.
    Cost: N + 2 forwards per step, and one more with noise.

    Source: Büchel et al., ICLR 2022 (N = 10, start 0.001, β 0.1 beside forward noise, 0.25 alone, ζ 0.1).

    >>> AdversarialWeight(attack_steps=3, noise=False).forwards
    5.0
    """

    controls: ClassVar[tuple[str, ...]] = ("noise_injection",)
    any_task: ClassVar[bool] = True
    beta: Annotated[float, Field(ge=0)] = 0.1
    reach: Annotated[float, Field(gt=0)] = 0.1
    relative: bool = False
    attack_steps: Annotated[int, Field(ge=1)] = 10
    start: Annotated[
        Annotated[float, Field(gt=0)],
        Field(
            description="The length of the random step that the attack begins with, in units of its bound."
        ),
    ] = 1e-3
    bound_gradient: bool = True
    noise: bool = True

    @property
    def forwards(self) -> float:  # type: ignore[override]
        """The attack's N, the clean one, the attacked one, and the chip's."""
        return self.attack_steps + 2.0 + self.noise

    @property
    def noisy(self) -> bool:  # type: ignore[override]
        """Whether z comes from chips."""
        return self.noise

    def loss(self, objective: Objective, x: Tensor, y: Tensor) -> Tensor:
        runner = objective.runner
        with same_masks(objective):
            noisy = objective.noisy_logits(x) if self.noise else None
        with same_masks(objective):
            clean = runner.logits({}, x) if noisy is None else forward_frozen_stats(runner, {}, x)
        offsets = self.attack(objective, x, clean.detach(), y)
        worst = {
            name: strided_as(w, w + self._bound(w if self.bound_gradient else w.detach()) * offsets[name])
            for name, w in objective.weights.items()
        }
        attacked = forward_frozen_stats(runner, worst, x)
        z = clean if noisy is None else noisy
        return objective.criterion(z, y) + self.beta * objective.task.divergence(clean, attacked, y)

    def attack(self, objective: Objective, x: Tensor, clean: Tensor, y: Any = None) -> dict[str, Tensor]:
        """The worst dW found, in units of its bound ζ·m, for every matrix of the crossbar.

        Args:
            objective: the method bound to its model.
            x: inputs [batch, …].
            clean: logits of the digital model [batch, classes].
            y: targets, which say where nothing is asked; None, everything is.

        Returns:
            Parameter name → dW / (ζ·m), −1 … 1.
        """
        weights = {name: w.detach() for name, w in objective.weights.items()}
        offsets = {}
        for name, w in weights.items():
            rng = rng_for(objective.seed, "adversarial_weight", *objective.address, name, device=w.device)
            offsets[name] = standard_normal(w, rng).mul_(self.start / self.reach)
        for _ in range(self.attack_steps):
            moved = {
                name: strided_as(w, w + self._bound(w) * offsets[name]).requires_grad_()
                for name, w in weights.items()
            }
            with same_masks(objective):
                moved_logits = forward_frozen_stats(objective.runner, moved, x)
                distance = objective.task.divergence(clean, moved_logits, y)
            slopes = torch.autograd.grad(distance, list(moved.values()), materialize_grads=True)
            for name, slope in zip(weights, slopes, strict=True):
                offsets[name] = (offsets[name] + slope.sign() / self.attack_steps).clamp(-1, 1)
        return offsets

    def _bound(self, weight: Tensor) -> Tensor:
        return self.reach * (weight.abs() if self.relative else weight.abs().amax())
