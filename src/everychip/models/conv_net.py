"""A convolutional network of any depth and width, plain or residual: the family to choose from."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from everychip.models.base import Init, Model, initialise_fan_out

FINAL = 4
"""The side that the last features are pooled to."""


class ConvNet(Model, kind="conv_net"):
    """L 3×3 convolutions, each with batch norm and ReLU, two 2×2 max-pools, then Linear, ReLU, Linear.

    channels: of the L convolutions. The pools stand after a third and two thirds of them (of two
    convolutions, one pool stands between); the last features are averaged to 4×4 (or less where the image
    is smaller). hidden: the width of the first linear layer. residual: every convolution but the first adds
    its input, whose missing channels are zeros, before its ReLU: y = ReLU(norm(conv(x)) + x), with the same
    cells as without. init: as for `VGG8`. A network of L convolutions counts L + 2 layers.

    Source: this project's own; the shortcut without parameters is option A of He et al., CVPR 2016, section
    3.3.

    >>> net = ConvNet(channels=(8, 16, 16), hidden=32).build((3, 32, 32), 10)
    >>> sum(p.numel() for p in net.parameters() if p.ndim > 1) == 3*8*9 + 8*16*9 + 16*16*9 + 16*16*32 + 32*10
    True
    """

    channels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (32, 64, 96, 96)
    hidden: Annotated[int, Field(ge=1)] = 128
    residual: bool = False
    init: Init = "fan_out_convolutions"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for images of at least 4×4 pixels."""
        return ConvNetNetwork(self, self.image_shape(input_shape, least=4), classes)


class ConvNetNetwork(nn.Module):
    """The layers of `ConvNet`."""

    def __init__(self, config: ConvNet, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        inputs, *size = input_shape
        pooled = pool_positions(len(config.channels))
        blocks = OrderedDict[str, nn.Module]()
        for n, outputs in enumerate(config.channels):
            pool = n in pooled and min(size) >= 2
            blocks[f"block{n + 1}"] = ConvBlock(
                inputs, outputs, pool=pool, residual=config.residual and n > 0
            )
            size = [side // 2 for side in size] if pool else size
            inputs = outputs
        self.blocks = nn.Sequential(blocks)
        side = [min(FINAL, one) for one in size]
        self.pool = nn.AdaptiveAvgPool2d((side[0], side[1]))
        self.hidden = nn.Linear(inputs * side[0] * side[1], config.hidden)
        self.relu = nn.ReLU()
        self.output = nn.Linear(config.hidden, classes)
        initialise_fan_out(self, init=config.init)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images."""
        x = self.pool(self.blocks(x)).flatten(1)
        logits: Tensor = self.output(self.relu(self.hidden(x)))
        return logits


class ConvBlock(nn.Module):
    """pool(ReLU(norm(conv(x)) + x)), the pool and the shortcut where they are requested."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.pool: nn.Module = nn.MaxPool2d(2) if pool else nn.Identity()
        self.residual, self.outputs = residual, outputs

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The block's features."""
        y = self.norm(self.conv(x))
        if self.residual:
            y = y + with_channels(x, self.outputs)
        features: Tensor = self.pool(self.relu(y))
        return features


def with_channels(x: Float[Tensor, "n c h w"], channels: int) -> Float[Tensor, "n channels h w"]:
    """The features with zeros for the channels that are missing, or without those that are too many.

    >>> import torch
    >>> with_channels(torch.ones(1, 2, 1, 1), 3).flatten().tolist()
    [1.0, 1.0, 0.0]
    """
    missing = channels - x.shape[1]
    return x[:, :channels] if missing <= 0 else pad(x, (0, 0, 0, 0, 0, missing))


def pool_positions(convolutions: int) -> tuple[int, ...]:
    """After which of L convolutions, counted from 0, the two pools stand: as early as thirds allow.

    >>> [pool_positions(n) for n in (1, 2, 3, 4, 6, 8)]
    [(), (0,), (0, 1), (0, 1), (1, 3), (1, 4)]
    """
    places = {convolutions * share // 3 - 1 for share in (1, 2)}
    if convolutions == 2:
        places = {0}
    return tuple(sorted(place for place in places if 0 <= place < convolutions - 1))
