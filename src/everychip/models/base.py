"""The family of models."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import nn

from everychip.config.component import Component
from everychip.errors import ModelError
from everychip.rng import seeded_global_generator


class Model(Component, family="model"):
    """A network by its description; `build` makes it for one shape of input and number of classes.

    >>> net = Model.parse({"kind": "mlp", "hidden": [32]}).build((1, 8, 8), 10, seed=0)
    >>> sum(p.numel() for p in net.parameters()) == 64 * 32 + 32 + 32 * 10 + 10
    True
    """

    example: ClassVar[str] = '{ kind = "lenet" }'

    @property
    def label(self) -> str:
        """The short name that tables and plots show."""
        return self.kind

    def build(self, input_shape: tuple[int, ...], classes: int, *, seed: int = 0) -> nn.Module:
        """The freshly initialised network, on the CPU; the same seed gives the same weights.

        `input_shape` is the shape of one input without the batch; the global generator does not move.

        Args:
            input_shape: the shape of one input, without the batch.
            classes: how many logits there are.
            seed: of all draws, a whole number.

        Returns:
            The network, in training mode, on the CPU.
        """
        shape = tuple(int(size) for size in input_shape)
        if not shape or min(shape) < 1:
            raise ModelError(
                f"model.{self.kind}", found=f"inputs of shape {list(shape)}", expected="sizes of 1 or more"
            )
        if classes < 1:
            raise ModelError(f"model.{self.kind}", found=f"{classes} classes", expected="1 or more")
        with seeded_global_generator(seed, "init"):
            return self.network(shape, classes)

    def content(self) -> str:
        """SHA-256 of the user's code that makes the module; "" where the code is this package's."""
        return ""

    @abstractmethod
    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Make the module, drawing its weights from PyTorch's global generator, which `build` has set.

        Args:
            input_shape: the shape of one input, without the batch.
            classes: how many logits there are.

        Returns:
            The network.
        """

    def image_shape(self, input_shape: tuple[int, ...], *, least: int = 1) -> tuple[int, int, int]:
        """The input's (channels, height, width), or an error where it is no image or smaller than `least`.

        Args:
            input_shape: the shape of one input, without the batch.
            least: the smallest height and width.

        Returns:
            Channels, height, width.
        """
        if len(input_shape) != 3:
            raise ModelError(
                f"model.{self.kind}",
                found=f"inputs of shape {list(input_shape)}",
                expected="images [channels, height, width]",
            )
        channels, height, width = input_shape
        if min(height, width) < least:
            raise ModelError(
                f"model.{self.kind}",
                found=f"images of {height}×{width} pixels",
                expected=f"at least {least}×{least}",
                remedy=f"enlarge them, such as data.size={max(least, 32)}",
            )
        return channels, height, width


Init = Literal["fan_out", "fan_out_convolutions"]


def initialise_fan_out(module: nn.Module, *, init: Init = "fan_out") -> None:
    """Kaiming-normal weights with std = √(2 / fan_out), biases 0; linear layers only where `init` says so.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2 (backward case).
    """
    layers = (nn.Conv2d, nn.Linear) if init == "fan_out" else (nn.Conv2d,)
    for layer in module.modules():
        if isinstance(layer, layers):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
