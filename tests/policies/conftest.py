"""What the tests of policies share: a small network with exits and labelled inputs."""

from __future__ import annotations

import pytest
import torch

import everychip as ec
from everychip import models
from everychip.rng import rng_for


@pytest.fixture
def net():
    x = torch.randn(4, 1, 16, 16, generator=rng_for(0))
    return ec.MultiExit(models.VGG8(width=2).build((1, 16, 16), 3), x).eval()


@pytest.fixture
def data():
    return torch.randn(120, 1, 16, 16, generator=rng_for(1)), torch.arange(120) % 3
