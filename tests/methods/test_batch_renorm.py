"""Batch norm corrected to the population's statistics: values, gradient, and that it leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from everychip import rng_for
from everychip.methods.batch_renorm import MOMENTUM, population_norm

X = 3 + 2 * torch.randn(16, 4, 5, 5, generator=rng_for(0, "x"), dtype=torch.float64)


def norm(**options: bool) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(4, dtype=torch.float64, **options)
    if made.affine:
        made.weight.data.uniform_(0.5, 2, generator=rng_for(0, "w"))
        made.bias.data.normal_(generator=rng_for(0, "b"))
    made.running_mean.fill_(1.0)
    made.running_var.fill_(2.0)
    return made


@pytest.mark.parametrize("affine", [True, False])
def test_a_whole_share_gives_the_output_of_evaluation(affine: bool) -> None:
    layer = norm(affine=affine)
    expected = copy.deepcopy(layer).eval()(X)
    with population_norm(layer, 1.0):
        torch.testing.assert_close(layer(X), expected)


def test_no_share_is_plain_batch_norm() -> None:
    layer, plain = norm(), norm()
    with population_norm(layer, 0.0):
        torch.testing.assert_close(layer(X), plain(X))
    torch.testing.assert_close(layer.running_mean, plain.running_mean)


def test_a_small_share_holds_the_correction_within_its_limits() -> None:
    layer, plain = norm(affine=False), norm(affine=False)
    with population_norm(layer, 0.01):
        moved = (layer(X) - plain(X)).abs()
    assert 0 < float(moved.max()) <= 0.04 * float(plain(X).abs().max()) + 0.08 + 1e-9


def test_the_gradient_is_that_of_batch_renormalisation_written_out() -> None:
    layer = norm()
    x = X.clone().requires_grad_(True)
    target = torch.randn(X.shape, generator=rng_for(0, "t"), dtype=torch.float64)
    with population_norm(layer, 1.0):
        (layer(x) * target).sum().backward()
    z = X.clone().requires_grad_(True)
    weight, bias = (
        p.detach().clone().view(1, 4, 1, 1).requires_grad_(True) for p in (layer.weight, layer.bias)
    )
    mean = z.mean(dim=(0, 2, 3), keepdim=True)
    std = ((z - mean).square().mean(dim=(0, 2, 3), keepdim=True) + layer.eps).sqrt()
    run = (torch.tensor(2.0, dtype=torch.float64) + layer.eps).sqrt()
    r, d = (std / run).detach(), ((mean - 1.0) / run).detach()
    ((weight * ((z - mean) / std * r + d) + bias) * target).sum().backward()
    torch.testing.assert_close(x.grad, z.grad)
    torch.testing.assert_close(layer.weight.grad, weight.grad.flatten())
    torch.testing.assert_close(layer.bias.grad, bias.grad.flatten())


def test_the_running_statistics_move_slowly_inside_and_as_before_outside() -> None:
    layer = norm()
    with population_norm(layer, 1.0):
        layer(X)
    torch.testing.assert_close(layer.running_mean, 1.0 + MOMENTUM * (X.mean(dim=(0, 2, 3)) - 1.0))
    assert layer.momentum == 0.1
    assert not layer._forward_hooks and not layer._forward_pre_hooks


def test_evaluation_mode_is_left_alone_and_an_error_leaves_no_trace() -> None:
    layer = norm().eval()
    expected = layer(X)
    with population_norm(layer, 1.0):
        torch.testing.assert_close(layer(X), expected)
    with pytest.raises(RuntimeError), population_norm(layer, 1.0):
        layer(X[:, :3])
    assert not layer._forward_hooks and layer.momentum == 0.1
