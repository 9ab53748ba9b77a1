"""The empirical Fisher information of every weight, for any model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from everychip.data import Examples
from everychip.hardware.hardware import Hardware
from everychip.hardware.placement import Placed
from everychip.network.modes import evaluating
from everychip.network.running import Runner


def empirical_fisher(model: nn.Module, hardware: Hardware, data: Examples) -> dict[str, Float[Tensor, ...]]:
    """F_w = Σ_n (∂ CE(z(x_n), y_n) / ∂w)², summed over images, for every weight on the crossbar.

    One backward pass per image: slow, and right for every model that can be differentiated.

    Source: Kunstner et al., NeurIPS 2019 (the diagonal of the empirical Fisher matrix).

    >>> import everychip as ec
    >>> model, hw = nn.Linear(2, 2, bias=False), ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))
    >>> _ = model.weight.data.zero_()
    >>> empirical_fisher(model, hw, Examples(torch.tensor([[1.0, 2.0]]), torch.tensor([0])))
    {'weight': tensor([[0.2500, 1.0000],
            [0.2500, 1.0000]])}
    """
    weights = {
        name: p.detach().clone().requires_grad_() for name, p in Placed.of(model, hardware).weights.items()
    }
    runner = Runner(model, batch_size=1)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with evaluating(model), torch.enable_grad():
        for x, y in zip(runner.batches(data.x), torch.split(data.y, 1), strict=True):
            z = runner.logits(weights, x)
            loss = F.cross_entropy(z.reshape(-1, z.shape[-1]).float(), y.to(z.device).reshape(-1))
            gradients = torch.autograd.grad(
                loss, list(weights.values()), allow_unused=True, materialize_grads=True
            )
            for name, gradient in zip(weights, gradients, strict=True):
                sums[name] += gradient.square()
    return sums
