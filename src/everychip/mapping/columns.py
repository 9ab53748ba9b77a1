"""Which of a weight's numbers share a column of the crossbar, and which a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class Columns:
    """A column collects the products of one output, a row carries one input (of a patch, for a convolution).

    axis: the dimension of the weight that counts outputs: 0 in Linear, convolutions, attention and recurrent
    layers; 1 in transposed convolutions and embeddings. groups: of a grouped convolution, which are blocks
    along dimension 0 of the weight, with rows and columns of their own. full: the weight that G_max stands
    for, where that is not max|W| but learned: a scalar, or one number per column, as `one_each` has them.

    >>> import torch
    >>> Columns().largest(torch.tensor([[0.5, -2.0], [0.25, 0.0]]))
    tensor([[2.0000],
            [0.2500]])
    """

    axis: int = 0
    groups: int = 1
    full: Tensor | None = field(default=None, compare=False, repr=False)

    def largest(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*broadcast"]:
        """max|W| of every column, in a shape that multiplies the weight.

        Args:
            weight: the weights, in their own unit.

        Returns:
            One number per column, broadcast over the weight.
        """
        return self.over_weight(self.one_each(weight.abs()), weight)

    def one_each(
        self, values: Float[Tensor, "*weights"], *, mean: bool = False
    ) -> Float[Tensor, groups * columns]:
        """The largest of every column's values, or their mean.

        Args:
            values: one for each weight.
            mean: whether it is the mean.

        Returns:
            One number per column of each group, in the shape that `over_weight` takes.
        """
        blocks = values.reshape(self.groups, -1, *values.shape[1:])
        others = [dim for dim in range(1, blocks.ndim) if dim != self.axis + 1]
        return blocks.mean(others, keepdim=True) if mean else blocks.amax(others, keepdim=True)

    def over_weight(self, each: Float[Tensor, groups * columns], like: Tensor) -> Float[Tensor, "*broadcast"]:
        """One number per column, in a shape that multiplies the weight.

        Args:
            each: as `one_each` has them.
            like: the weight.

        Returns:
            Broadcast over the weight.
        """
        return each.expand(-1, like.shape[0] // self.groups, *each.shape[2:]).flatten(0, 1)

    def learned(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*broadcast"] | None:
        """The learned full scale in a shape that multiplies the weight; None, there is none.

        Args:
            weight: the weights, in their own unit.

        Returns:
            A scalar, one number per column broadcast over the weight, or None.
        """
        if self.full is None or self.full.ndim == 0:
            return self.full
        return self.over_weight(self.full, weight)

    def clipped(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*weights"]:
        """The weights within ±the learned full scale: what cells can hold. Both have gradients.

        Args:
            weight: the weights, in their own unit.

        Returns:
            In their shape; the weights themselves where no full scale is learned.
        """
        full = self.learned(weight)
        return weight if full is None else torch.clamp(weight, min=-full, max=full)

    def one_per_row(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*rows"]:
        """The weight cut down to one column of every group: its first.

        Args:
            weight: the weights, in their own unit.

        Returns:
            The first column of every group.
        """
        return weight[:, :1] if self.axis else weight[:: weight.shape[0] // self.groups]

    def over_columns(self, rows: Float[Tensor, "*rows"], like: Tensor) -> Float[Tensor, "*broadcast"]:
        """One number for each row, in a shape that adds to the weight: the same ones in every column.

        Args:
            rows: one number for each row.
            like: the weight.

        Returns:
            Broadcast over the weight.
        """
        if self.axis or self.groups == 1:
            return rows
        return rows.repeat_interleave(like.shape[0] // self.groups, dim=0)


OUTPUTS_FIRST = Columns()
"""The columns of every layer but transposed and grouped convolutions and embeddings."""


def columns_of(modules: Iterable[nn.Module]) -> Columns:
    """The columns of a weight that these modules hold; a table tied to a layer has those of the layer.

    A matrix that belongs to no layer is read as that of a Linear.

    >>> columns_of([nn.ConvTranspose2d(8, 4, 3, groups=2)])
    Columns(axis=1, groups=2)
    """
    found = [_columns_of(module) for module in modules if not isinstance(module, _EMBEDDINGS)]
    return found[0] if found else Columns(axis=1)


_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def _columns_of(module: nn.Module) -> Columns:
    if isinstance(module, _ConvNd):
        return Columns(axis=int(isinstance(module, _ConvTransposeNd)), groups=module.groups)
    # The Conv1D of Hugging Face transformers is a Linear whose weight is held the other way round.
    transposed = type(module).__name__ == "Conv1D" and hasattr(module, "nf")
    return Columns(axis=1) if transposed else OUTPUTS_FIRST
