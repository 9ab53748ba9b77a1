"""A LeNet-5 of today: ReLU and max-pooling, any image of 4×4 pixels or more."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from everychip.models.base import Model


class LeNet(Model, kind="lenet"):
    """Two 5×5 convolutions of 6 and 16 channels with ReLU and 2×2 max-pools, linear layers of 120 and 84.

    The convolutions keep the image's size (padding 2), so that 8×8 digits fit as well as 28×28 or 32×32
    images; `width` multiplies all four sizes.

    Source: LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998; without
    its sub-sampling weights, partial connections and RBF output.

    >>> LeNet().build((1, 28, 28), 10).linear1.in_features == 16 * 7 * 7
    True
    """

    width: int = Field(
        default=1, ge=1, le=65_536, description="A factor on all channels and widths of the paper's network."
    )

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for images of at least 4×4 pixels."""
        return LeNetNetwork(self.image_shape(input_shape, least=4), classes, width=self.width)


class LeNetNetwork(nn.Module):
    """The layers of `LeNet`."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, width: int) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        self.conv1 = nn.Conv2d(channels, 6 * width, 5, padding=2)
        self.conv2 = nn.Conv2d(6 * width, 16 * width, 5, padding=2)
        self.linear1 = nn.Linear(16 * width * (height // 4) * (breadth // 4), 120 * width)
        self.linear2 = nn.Linear(120 * width, 84 * width)
        self.output = nn.Linear(84 * width, classes)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.linear1(x.flatten(1)))
        logits: Tensor = self.output(self.relu(self.linear2(x)))
        return logits
