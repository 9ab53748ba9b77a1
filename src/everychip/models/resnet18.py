"""ResNet-18 for small images, the larger network of the negative feedback papers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from everychip.models.base import Init, Model, initialise_fan_out


class ResNet18(Model, kind="resnet18"):
    """A 3×3 stem of w channels without pooling and four stages of w, 2w, 4w, 8w; `width` w = 64 is published.

    Each stage holds two blocks of two 3×3 convolutions; stages 2 to 4 begin with stride 2 and a 1×1 shortcut
    with batch norm. Then global average pooling and Linear(8w → classes). Kaiming fan-out initialisation
    of every layer (published), or with `init = "fan_out_convolutions"` PyTorch's own for linear layers.

    Source: He et al., Deep residual learning, CVPR 2016; as in the code of Qin et al., arXiv 2305.14561.

    >>> net = ResNet18(width=8).build((3, 32, 32), 10)
    >>> net.output
    Linear(in_features=64, out_features=10, bias=True)
    """

    width: int = Field(
        default=64, ge=1, le=65_536, description="Channels of the first stage; 64 in the paper."
    )
    init: Annotated[
        Init, Field(description="How layers start: all by Kaiming fan-out, or convolutions only.")
    ] = "fan_out"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for images of any size."""
        channels, _, _ = self.image_shape(input_shape)
        return ResNet18Network(channels, classes, width=self.width, init=self.init)


class ResNet18Network(nn.Module):
    """The layers of `ResNet18`; exits go after the stem and stages 1 to 3, pooled to 6, 6, 4 and 3 a side."""

    exit_positions: ClassVar[dict[str, int]] = {"stem": 6, "layer1": 6, "layer2": 4, "layer3": 3}

    def __init__(self, channels: int, classes: int, *, width: int, init: Init = "fan_out") -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(conv=_conv(channels, width, 3), norm=nn.BatchNorm2d(width), relu=nn.ReLU())
        )
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(8 * width, classes)
        initialise_fan_out(self, init=init)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images."""
        x = self.stem(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.output(self.pool(x).flatten(1))
        return logits


class ResidualBlock(nn.Module):
    """ReLU(norm(conv(ReLU(norm(conv(x))))) + shortcut(x)); the shortcut is x itself where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, 3, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                OrderedDict(conv=_conv(inputs, outputs, 1, stride=stride), norm=nn.BatchNorm2d(outputs))
            )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The block's features."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        features: Tensor = self.relu(out + self.shortcut(x))
        return features


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(inputs, outputs, stride=stride), ResidualBlock(outputs, outputs, stride=1)
    )


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
