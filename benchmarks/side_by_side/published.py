"""The loop as published code has it: layers that add noise in their forward, a copied model for each chip.

Every layer draws a standard normal tensor for each of its four 2-bit slices, scales it by σ·max|W|·4^i and
adds the sum to the weight; a Monte Carlo chip is a deep copy of the network with such noise added to its
weights, run over the test images batch by batch, its right answers counted one batch at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from workloads import SIGMA, Made, Work, Workload, serve, step

SLICES = range(4)


def noise(weight: Tensor, sigma: float = SIGMA) -> Tensor:
    """Σ_i 4^i·σ·max|W|·N(0, 1) / Σ_i 4^i."""
    scale = weight.abs().max() * sigma / sum(4.0**i for i in SLICES)
    total: Tensor = torch.zeros_like(weight)
    for i in SLICES:
        total = total + torch.randn_like(weight) * scale * 4.0**i
    return total


class NoisyLinear(nn.Linear):
    """W + noise in every forward."""

    sigma = SIGMA

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = nn.functional.linear(x, self.weight + noise(self.weight, self.sigma), self.bias)
        return found


class NoisyConv2d(nn.Conv2d):
    """W + noise in every forward."""

    sigma = SIGMA

    def forward(self, x: Tensor) -> Tensor:
        noisy_weight = self.weight + noise(self.weight, self.sigma)
        found: Tensor = self._conv_forward(x, noisy_weight, self.bias)
        return found


def noisy(model: nn.Module) -> nn.Module:
    """The network with its layers made noisy in place; those of attention stay as they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = NoisyLinear
        elif type(module) is nn.Conv2d:
            module.__class__ = NoisyConv2d
    return model


def variational(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> Work:
    """OVF: three further forwards of the batch with more noise, z − β·Σ γ_n z_n over four."""
    model.train()
    layers = [m for m in model.modules() if isinstance(m, NoisyLinear | NoisyConv2d)]

    def logits(sigma: float) -> Tensor:
        for layer in layers:
            layer.sigma = sigma
        found: Tensor = model(x)
        return found

    def work() -> None:
        feedback = sum(10.0**-n * logits(SIGMA + more) for n, more in enumerate((0.15, 0.10, 0.05)))
        loss = nn.functional.cross_entropy((logits(SIGMA) - 1e-3 * feedback) / 4, y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return work


def chip(model: nn.Module, test: tuple[Tensor, Tensor]) -> Work:
    """A copy with noise in its weights, and its accuracy."""
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*test), batch_size=500)

    def work() -> float:
        copied = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in copied.parameters():
                if parameter.ndim > 1:
                    parameter.add_(noise(parameter))
            copied.eval()
            right = 0
            for x, y in loader:
                right += (copied(x).argmax(1) == y).sum().item()
        return right / len(test[1])

    return work


def trained(load: Workload, kind: Callable[..., Work]) -> Work:
    """A step of one kind on a fresh noisy network."""
    model = noisy(load.network())
    return kind(model, *load.one_batch(), torch.optim.Adam(model.parameters()))


def programmed(load: Workload) -> Work:
    """The noise of all weights."""
    model = load.network()
    return lambda: [noise(p.detach()) for p in model.parameters() if p.ndim > 1]


def works(load: Workload) -> dict[str, Made]:
    """Steps of noise injection and of OVF, a chip, its noise alone."""
    return {
        "step: noise injection": lambda: trained(load, step),
        "step: OVF": lambda: trained(load, variational),
        "chip": lambda: chip(load.network(), load.test()),
        "programming": lambda: programmed(load),
    }


if __name__ == "__main__":
    serve(works)
