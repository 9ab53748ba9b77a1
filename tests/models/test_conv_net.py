"""The family of convolutional networks: plain and residual ones of a depth have the same cells."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from everychip.errors import ModelError
from everychip.models import ConvNet
from everychip.rng import rng_for


def cells(net):
    return sum(p.numel() for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("depth", range(1, 9))
def test_a_residual_network_has_the_cells_of_the_plain_one_and_other_logits(depth):
    channels = (4, 8, 8, 12, 12, 16, 16, 16)[:depth]
    x = torch.randn(4, 3, 32, 32, generator=rng_for(0))
    plain, residual = (
        ConvNet(channels=channels, hidden=8, residual=r).build((3, 32, 32), 10) for r in (False, True)
    )
    widths = (3, *channels)
    expected = sum(9 * a * b for a, b in pairwise(widths)) + channels[-1] * 16 * 8 + 80
    assert cells(plain) == cells(residual) == expected
    assert torch.equal(plain(x), residual(x)) is (depth == 1)


def test_a_residual_block_is_its_equation():
    net = ConvNet(channels=(3, 5), hidden=4, residual=True).build((3, 8, 8), 2).eval()
    x = torch.randn(2, 3, 8, 8, generator=rng_for(0))
    block = net.blocks.block2
    h = torch.nn.functional.max_pool2d(torch.relu(net.blocks.block1.norm(net.blocks.block1.conv(x))), 2)
    y = block.norm(block.conv(h))
    y[:, :3] += h
    torch.testing.assert_close(block(h), torch.relu(y))


def test_small_images_pool_less_and_too_small_ones_are_refused():
    assert ConvNet(channels=(4, 4, 4), hidden=4).build((1, 5, 7), 3)(torch.zeros(2, 1, 5, 7)).shape == (2, 3)
    with pytest.raises(ModelError, match="at least 4×4"):
        ConvNet().build((1, 3, 3), 2)
