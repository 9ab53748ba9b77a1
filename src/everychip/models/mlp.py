"""A multi-layer perceptron."""

from __future__ import annotations

from math import prod
from typing import Annotated

from pydantic import Field
from torch import nn

from everychip.models.base import Model


class MLP(Model):
    """Linear layers with ReLU between them, on the flattened input; `hidden` lists their widths.

    >>> MLP(hidden=(32, 16)).build((1, 8, 8), 10)[1].in_features
    64
    """

    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65_536)], ...],
        Field(description="The width of each hidden layer."),
    ] = (256, 128)

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Flatten, then Linear and ReLU for each hidden width, then Linear to the classes."""
        layers: list[nn.Module] = [nn.Flatten()]
        width = prod(input_shape)
        for size in self.hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        return nn.Sequential(*layers, nn.Linear(width, classes))
