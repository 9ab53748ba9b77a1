"""The convolutional network with which Büchel et al. measured robustness to mismatch on Fashion-MNIST."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from everychip.models.base import Model


class CNN(Model, kind="cnn"):
    """Two 4×4 convolutions with ReLU and 2×2 max-pools, then linear layers of 256 and 64 with ReLU.

    channels: of both convolutions; the first keeps the image's size (its padding is 2 above and left, 1 below
    and right), the second has none. hidden: widths of the linear layers before the output. dropout: the share
    of the inputs of every linear layer that training sets to 0. batch_statistics: whether the last hidden
    features are standardised over the batch at hand, without scale and shift, in evaluation as in training
    (as the authors' code does; an image's logits then depend on the others of its batch, and every chip
    standardises its own). init: "default" is PyTorch's; "published" the first author's: normal of σ = √(6/f)
    cut off at 2σ, f = inputs + outputs of a linear layer, in · out · (height + width) of a convolution, whose
    biases follow the same law; those of linear layers start at 0. It starts the linear layers about 3.4 times
    as wide as PyTorch does.

    dropout_law: with "published", the first author's, a whole batch shares one mask and nothing rescales what
    is left of it; without it, dropout is PyTorch's.

    Source: Büchel et al., ICLR 2022, as in the first author's public code (BPTT-Lipschitzness).

    >>> net = CNN(dropout=0.3).build((1, 28, 28), 10)
    >>> [layer.in_features for layer in net.modules() if isinstance(layer, nn.Linear)]
    [1600, 256, 64]
    """

    channels: int = Field(default=64, ge=1, le=65_536)
    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = (256, 64)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_statistics: bool = False
    init: Literal["default", "published"] = "default"
    dropout_law: Literal["published"] | None = None

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for images of at least 10×10 pixels."""
        return CNNNetwork(self, self.image_shape(input_shape, least=10), classes)


class CNNNetwork(nn.Module):
    """The layers of `CNN`."""

    def __init__(self, config: CNN, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        self.pad = nn.ZeroPad2d((2, 1, 2, 1))
        self.conv1 = nn.Conv2d(channels, config.channels, 4)
        self.conv2 = nn.Conv2d(config.channels, config.channels, 4)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        width = config.channels * ((height // 2 - 3) // 2) * ((breadth // 2 - 3) // 2)
        drop = nn.Dropout if config.dropout_law is None else BatchDropout
        layers: list[nn.Module] = []
        for size in config.hidden:
            layers += [drop(config.dropout), nn.Linear(width, size), nn.ReLU()]
            width = size
        self.hidden = nn.Sequential(*layers)
        self.dropout = drop(config.dropout)
        self.norm: nn.Module = nn.Identity()
        if config.batch_statistics:
            self.norm = nn.BatchNorm1d(width, affine=False, track_running_stats=False)
        self.output = nn.Linear(width, classes)
        if config.init == "published":
            self.apply(_initialise)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images."""
        # ReLU of the pooled is the pooled of ReLU, to the bit, on a quarter of the values.
        x = self.relu(self.pool(self.conv1(self.pad(x))))
        x = self.relu(self.pool(self.conv2(x)))
        x = self.norm(self.dropout(self.hidden(x.flatten(1))))
        logits: Tensor = self.output(x)
        return logits


class BatchDropout(nn.Dropout):
    """Dropout with one mask for all images of a batch, and no rescaling of what is left.

    >>> kept = BatchDropout(0.5)(torch.ones(3, 100))
    >>> bool((kept == kept[0]).all()), kept.unique().tolist()
    (True, [0.0, 1.0])
    """

    def forward(self, x: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
        """A batch without the features that its mask drops; in evaluation the batch itself."""
        if not self.training:
            return x
        return x * torch.empty_like(x[:1]).bernoulli_(1 - self.p)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        channels, kernel = layer.weight.shape[0] * layer.weight.shape[1], sum(layer.kernel_size)
        _truncated(layer.weight, fans=channels * kernel)
        if layer.bias is not None:
            _truncated(layer.bias, fans=channels * kernel)
    elif isinstance(layer, nn.Linear):
        _truncated(layer.weight, fans=layer.in_features + layer.out_features)
        nn.init.zeros_(layer.bias)


def _truncated(parameter: Tensor, *, fans: int) -> None:
    std = math.sqrt(6 / fans)
    nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
