"""A small network of causal convolutions: a language model, or a label for each token."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from everychip.models.base import Model


class CausalConv(Model):
    """An embedding, residual convolutions that see the past only, and a linear layer to the next token.

    With a `vocabulary`, to the labels of each token. width: channels. kernel: tokens each layer reads. depth:
    layers, dilated by 1, 2, 4, …

    Source: van den Oord et al., WaveNet, arXiv 1609.03499, without its gates.

    >>> net = CausalConv(width=8).build((16,), 96)
    >>> net(torch.zeros(2, 16, dtype=torch.long)).shape
    torch.Size([2, 16, 96])
    """

    width: int = Field(default=64, ge=1, le=4096)
    kernel: int = Field(default=3, ge=2, le=64)
    depth: int = Field(default=4, ge=1, le=12)
    vocabulary: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="How many tokens there are; absent, as many as the network answers with.",
    )

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network for sequences of any length."""
        del input_shape
        how = {"width": self.width, "kernel": self.kernel, "depth": self.depth}
        return CausalConvNetwork(classes, vocabulary=self.vocabulary or classes, **how)


class CausalConvNetwork(nn.Module):
    """Token i's logits depend on tokens 0 … i."""

    def __init__(self, classes: int, *, vocabulary: int, width: int, kernel: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, kernel, dilation=2**n) for n in range(depth))
        self.past = [(kernel - 1) * 2**n for n in range(depth)]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits [n, t, classes] of tokens [n, t]."""
        h = self.embedding(input_ids)
        for layer, norm, past in zip(self.layers, self.norms, self.past, strict=True):
            seen = nn.functional.pad(norm(h).transpose(1, 2), (past, 0))
            h = h + torch.relu(layer(seen)).transpose(1, 2)
        logits: Tensor = self.head(h)
        return logits
