"""A small network that answers at every pixel."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from everychip.models.base import Model


class Pixelwise(Model):
    """Convolutions of 3×3 that keep the size of the image, dilated by 1, 2, 4, …, then one of 1×1.

    width: channels of every layer. depth: how many layers of 3×3 there are. The field of view is
    2^(depth+1) − 1 pixels, 31 for four layers.

    Source: Yu and Koltun, Multi-scale context aggregation by dilated convolutions, ICLR 2016.

    >>> import torch
    >>> Pixelwise(width=8).build((1, 16, 16), 11)(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 11, 16, 16])
    """

    width: int = Field(default=32, ge=1, le=4096)
    depth: int = Field(default=4, ge=1, le=8)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Conv, batch norm and ReLU for each layer, then the classes at every pixel."""
        channels, _, _ = self.image_shape(input_shape)
        layers: list[nn.Module] = []
        for n in range(self.depth):
            kernel = nn.Conv2d(channels, self.width, 3, padding=2**n, dilation=2**n, bias=False)
            layers += [kernel, nn.BatchNorm2d(self.width), nn.ReLU()]
            channels = self.width
        return nn.Sequential(*layers, nn.Conv2d(channels, classes, 1))
