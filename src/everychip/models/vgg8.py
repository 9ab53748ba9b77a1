"""VGG-8, the small network of the negative feedback papers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from everychip.models.base import Init, Model, initialise_fan_out


class VGG8(Model):
    """Six 3×3 convolutions of w, 2w, 4w, 4w, 8w, 8w channels, two linear layers; `width` w = 64 is published.

    Each convolution has no bias and is followed by batch norm and ReLU, the 2nd, 4th and 6th also by a 2×2
    max-pool; then Linear(8w·(H/8)·(W/8) → 16w), ReLU, Linear(16w → classes). Kaiming fan-out initialisation
    of every layer (published), or with `init = "fan_out_convolutions"` PyTorch's own for linear layers.

    Source: Qin et al., arXiv 2305.14561, and its code.

    >>> net = VGG8(width=64).build((3, 32, 32), 10)
    >>> net.hidden
    Linear(in_features=8192, out_features=1024, bias=True)
    """

    width: int = Field(
        default=64, ge=1, le=65_536, description="Channels of the first block; 64 in the paper."
    )
    init: Annotated[
        Init, Field(description="How layers start: all by Kaiming fan-out, or convolutions only.")
    ] = "fan_out"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for images of at least 8×8 pixels."""
        return VGG8Network(self.image_shape(input_shape, least=8), classes, width=self.width, init=self.init)


class VGG8Network(nn.Module):
    """The layers of `VGG8`; exits go after blocks 1, 2 and 4, pooled to 6, 4 and 3 a side."""

    exit_positions: ClassVar[dict[str, int]] = {"block1": 6, "block2": 4, "block4": 3}

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, *, width: int, init: Init = "fan_out"
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        self.block1 = _block(channels, width)
        self.block2 = _block(width, 2 * width, pool=True)
        self.block3 = _block(2 * width, 4 * width)
        self.block4 = _block(4 * width, 4 * width, pool=True)
        self.block5 = _block(4 * width, 8 * width)
        self.block6 = _block(8 * width, 8 * width, pool=True)
        self.hidden = nn.Linear(8 * width * (height // 8) * (breadth // 8), 16 * width)
        self.relu = nn.ReLU()
        self.output = nn.Linear(16 * width, classes)
        initialise_fan_out(self, init=init)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images."""
        for block in (self.block1, self.block2, self.block3, self.block4, self.block5, self.block6):
            x = block(x)
        logits: Tensor = self.output(self.relu(self.hidden(x.flatten(1))))
        return logits


def _block(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(outputs),
        relu=nn.ReLU(),
    )
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)
