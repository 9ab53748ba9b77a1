"""Negative feedback training as its paper writes it, without the package: every line is the equation's.

It shares with the package the addresses of the random draws (so that both meet the same chips) and nothing
else: the forward of VGG-8, batch norm with its running statistics, the exits, the losses and Adam are here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from everychip.rng import rng_for

FACTOR = math.sqrt(sum(4.0 ** (2 * i) for i in range(4))) / sum(4.0**i for i in range(4))
"""8-bit weights on 2-bit cells: σ_W / max|W| = σ · √(Σ 2^{2iK}) / Σ 2^{iK}, K = 2, i < 4."""
POOLED_AFTER = (2, 4, 6)
EXITS = {"block1": 6, "block2": 4, "block4": 3}


@dataclass
class Literal:
    """One training: the tensors of VGG-8 and of its exits by name, moved by Adam."""

    weights: dict[str, Tensor]
    running: dict[str, Tensor]
    exits: dict[str, Tensor] = field(default_factory=dict)
    sigma: float = 0.4
    seed: int = 0
    lr: float = 1e-3
    step: int = 0
    frozen: bool = False

    def __post_init__(self) -> None:
        self.weights = {n: w.detach().clone().requires_grad_() for n, w in self.weights.items()}
        self.exits = {n: w.detach().clone().requires_grad_(not self.frozen) for n, w in self.exits.items()}
        self.running = {n: b.detach().clone() for n, b in self.running.items()}
        self.moments = {n: (torch.zeros_like(w), torch.zeros_like(w)) for n, w in self._trained().items()}

    def _trained(self) -> dict[str, Tensor]:
        own = {f"model.{n}": w for n, w in self.weights.items()}
        return own if self.frozen else {**own, **{f"exits.{n}": w for n, w in self.exits.items()}}

    def chip(self, tensors: dict[str, Tensor], *, sigma: float, part: str | int) -> dict[str, Tensor]:
        """W + max|W| · σ · factor · N(0, 1) for matrices, with the noise held fixed; vectors are digital."""
        held = {}
        for name, w in tensors.items():
            if w.ndim < 2:
                held[name] = w
                continue
            rng = rng_for(self.seed, "train", self.step, part, name)
            noise = torch.empty(w.shape, dtype=w.dtype).normal_(generator=rng)
            held[name] = w + (w.abs().max() * sigma * FACTOR).detach() * noise
        return held

    def forward(
        self, x: Tensor, chip: dict[str, Tensor], *, moves: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits, and the features after each block."""
        features = {}
        for n in range(1, 7):
            x = F.conv2d(x, chip[f"block{n}.conv.weight"], padding=1)
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            if moves:
                m = x.numel() / x.shape[1]
                for name, value in (("mean", mean), ("var", var * m / (m - 1))):
                    key = f"block{n}.norm.running_{name}"
                    self.running[key] = 0.9 * self.running[key] + 0.1 * value.detach()
            x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
            x = x * chip[f"block{n}.norm.weight"][:, None, None] + chip[f"block{n}.norm.bias"][:, None, None]
            x = x.clamp(min=0)
            if n in POOLED_AFTER:
                x = F.max_pool2d(x, 2)
            features[f"block{n}"] = x
        h = (x.flatten(1) @ chip["hidden.weight"].T + chip["hidden.bias"]).clamp(min=0)
        return h @ chip["output.weight"].T + chip["output.bias"], features

    def exit_logits(self, features: dict[str, Tensor]) -> list[Tensor]:
        """AdaptiveAvgPool(k) → flatten → Linear → ReLU → Linear, on noisy cells."""
        chip = self.chip(self.exits, sigma=self.sigma, part="exits")
        logits = []
        for n, (block, k) in enumerate(EXITS.items(), 1):
            side = min(k, features[block].shape[-1])
            pooled = F.adaptive_avg_pool2d(features[block], side).flatten(1)
            prefix = f"heads.exit{n}_{block}"
            h = (pooled @ chip[f"{prefix}.hidden.weight"].T + chip[f"{prefix}.hidden.bias"]).clamp(min=0)
            logits.append(h @ chip[f"{prefix}.classes.weight"].T + chip[f"{prefix}.classes.bias"])
        return logits

    def seen(self, x: Tensor, kind: str, beta: float) -> Tensor:
        """The logits that cross-entropy sees: z, or (z − β Σ 10^{−(n−1)} z_n) / (N + 1)."""
        z, features = self.forward(x, self.chip(self.weights, sigma=self.sigma, part=0))
        if kind == "base":
            return z
        if kind == "irs":
            feedback = self.exit_logits(features)
        else:
            feedback = [
                self.forward(
                    x, self.chip(self.weights, sigma=self.sigma + more, part=n), moves=kind != "ovf_backbone"
                )[0]
                for n, more in enumerate((0.15, 0.10, 0.05), 1)
            ]
        total = sum(10.0 ** -(n - 1) * z_n for n, z_n in enumerate(feedback, 1))
        return (z - beta * total) / (len(feedback) + 1)

    def train(self, x: Tensor, y: Tensor, *, kind: str, beta: float = 0.0) -> tuple[float, dict[str, Tensor]]:
        """One step of Adam; the loss and the gradients."""
        logits = self.seen(x, kind, beta)
        loss = -(logits - logits.logsumexp(1, keepdim=True))[torch.arange(len(y)), y].mean()
        trained = self._trained()
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        gradients = {n: g for n, g in zip(trained, found, strict=True) if g is not None}
        self.step += 1
        for name, g in gradients.items():
            first, second = self.moments[name]
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            self.moments[name] = first, second
            rate = self.lr / (1 - 0.9**self.step)
            with torch.no_grad():
                trained[name] -= rate * first / ((second / (1 - 0.999**self.step)).sqrt() + 1e-8)
        return float(loss.detach()), gradients
