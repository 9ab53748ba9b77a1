"""What a matrix of weights is multiplied as: a linear layer or a convolution of any kind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Product:
    """y = product(x, W), without a bias. dims: of the image, 0 for a linear layer; axis 1 holds channels."""

    dims: int = 0
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """The product of inputs [n, channels, ...] with a weight."""
        if self.dims == 0:
            return F.linear(x, weight)
        return torch.convolution(
            x,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )

    def gradients(
        self, slope: Tensor, x: Tensor, weight: Tensor, *, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Of a loss with this slope at y: at x and at the weight."""
        if self.dims == 0:
            return slope @ weight if needed[0] else None, slope.t() @ x if needed[1] else None
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            slope,
            x,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
            (*needed, False),
        )
        return of_x, of_weight

    def inputs(self, weight: Tensor) -> int:
        """The input channels of one group."""
        return weight.shape[0] // self.groups if self.transposed else weight.shape[1]

    def outputs(self, weight: Tensor) -> int:
        """The output channels of one group."""
        return weight.shape[1] if self.transposed else weight.shape[0] // self.groups

    def per_output(self, values: Tensor, like: Tensor) -> Tensor:
        """A value for each output channel, in a shape that multiplies a weight."""
        ones = [1] * (like.ndim - 2)
        if not self.transposed:
            return values.reshape(-1, 1, *ones)
        rows = values.reshape(self.groups, 1, -1, *ones)
        return rows.expand(-1, like.shape[0] // self.groups, *[-1] * (like.ndim - 1)).flatten(0, 1)
