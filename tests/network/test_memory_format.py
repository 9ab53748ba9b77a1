"""Which memory format a model is computed in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from everychip.models import ResNet18
from everychip.network.memory_format import safe_layout
from everychip.network.probing import probe

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        (nn.Conv2d(15, 8, 1, stride=2), CONTIGUOUS),
        (nn.Conv2d(32, 8, 1, stride=(1, 2), groups=4), CONTIGUOUS),
        (nn.Conv2d(16, 8, 1, stride=2), CHANNELS_LAST),
        (nn.Conv2d(4, 8, 1), CHANNELS_LAST),
        (nn.Conv2d(4, 8, 3, stride=2), CHANNELS_LAST),
    ],
)
def test_images_are_channels_last_unless_a_gradient_would_be_wrong(
    layer: nn.Conv2d, layout: torch.memory_format
) -> None:
    assert safe_layout(nn.Sequential(layer), torch.zeros(2, layer.in_channels, 8, 8)) is layout


def test_what_is_not_an_image_is_left_contiguous() -> None:
    assert safe_layout(nn.Linear(4, 2), torch.zeros(2, 4)) is CONTIGUOUS


@pytest.mark.parametrize(("width", "layout"), [(4, CONTIGUOUS), (8, CONTIGUOUS), (16, CHANNELS_LAST)])
def test_a_narrow_resnet_is_computed_contiguous(width: int, layout: torch.memory_format) -> None:
    model = ResNet18(width=width).build((1, 16, 16), 2, seed=0)
    assert probe(model, torch.zeros(2, 1, 16, 16)).layout is layout
