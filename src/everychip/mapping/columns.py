"""Which of a weight's numbers share a column of the crossbar, and which a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class Columns:
    """A column collects the products of one output, a row carries one input (of a patch, for a convolution).

    axis: the dimension of the weight that counts outputs: 0 in Linear, convolutions, attention and recurrent
    layers; 1 in transposed convolutions and embeddings. groups: of a grouped convolution, which are blocks
    along dimension 0 of the weight, with rows and columns of their own.

    >>> import torch
    >>> Columns().largest(torch.tensor([[0.5, -2.0], [0.25, 0.0]]))
    tensor([[2.0000],
            [0.2500]])
    """

    axis: int = 0
    groups: int = 1

    def largest(self, weight: Float[Tensor, "*weights"]) -> Float[Tensor, "*broadcast"]:
        """max|W| of every column, in a shape that multiplies the weight.

        Args:
            weight: the weights, in their own unit.

        Returns:
            One number per column, broadcast over the weight.
        """
        blocks = weight.abs().reshape(self.groups, -1, *weight.shape[1:])
        others = [dim for dim in range(1, blocks.ndim) if dim != self.axis + 1]
        found = blocks.amax(others, keepdim=True)
        return found.expand(-1, blocks.shape[1], *found.shape[2:]).flatten(0, 1)

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
