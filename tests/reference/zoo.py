"""Models of every architecture that must run on a chip, each with a batch of inputs it takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FirstOutput(nn.Module):
    """A recurrent network's outputs, without its states."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class SelfAttention(nn.Module):
    """Attention of a sequence over itself; keys and values may be narrower than queries."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        a = self.attention
        return a(x, x[..., : a.kdim], x[..., : a.vdim], need_weights=False)[0]


class FreeMatrices(nn.Module):
    """Matrices that belong to no layer: a parameter, a list and a dictionary of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(8, 6))
        self.more = nn.ParameterList([nn.Parameter(torch.randn(6, 6)) for _ in range(2)])
        self.named = nn.ParameterDict({"last": nn.Parameter(torch.randn(4, 6))})

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.mixing @ self.more[0] @ self.more[1]) @ self.named["last"].T


class TiedLanguageModel(nn.Module):
    """A token embedding whose table is also the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(self.embedding(tokens))))


class ViewNet(nn.Module):
    """A convolution whose features are flattened with `.view`, as in many tutorials."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4 * 36, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).view(x.shape[0], -1))


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _cells() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.RNNCell(8, 6), nn.GRUCell(6, 5))


def _mixed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.GroupNorm(2, 8), nn.Flatten(),
        nn.LayerNorm(8 * 36), nn.Dropout(0.5), nn.Linear(8 * 36, 4),
    )  # fmt: skip


SEQUENCE, IMAGE = (3, 5, 8), (2, 3, 8, 8)

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(8, 4), (3, 8)),
    "linear of one output": (lambda: nn.Linear(8, 1), (3, 8)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 6, 3, padding=1), IMAGE),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3), (2, 2, 5, 5, 5)),
    "conv2d of one input and one output": (lambda: nn.Conv2d(1, 1, 3), (2, 1, 8, 8)),
    "grouped": (lambda: nn.Conv2d(8, 12, 3, groups=4), (2, 8, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(8, 8, 3, groups=8), (2, 8, 6, 6)),
    "circular": (lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2), (1, 2, 3, 3, 3)),
    "attention": (SelfAttention, SEQUENCE),
    "attention with narrower keys": (lambda: SelfAttention(kdim=6, vdim=4), SEQUENCE),
    "attention with key biases": (lambda: SelfAttention(add_bias_kv=True), SEQUENCE),
    "encoder": (_encoder, SEQUENCE),
    "rnn": (lambda: FirstOutput(nn.RNN(8, 6, num_layers=2, bidirectional=True)), SEQUENCE),
    "lstm": (
        lambda: FirstOutput(nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)),
        SEQUENCE,
    ),
    "gru": (lambda: FirstOutput(nn.GRU(8, 6, num_layers=2, batch_first=True)), SEQUENCE),
    "cells": (_cells, (3, 8)),
    "free matrices": (FreeMatrices, (3, 8)),
    "norms and dropout": (_mixed, IMAGE),
    "view": (ViewNet, IMAGE),
}


def architecture(name: str) -> tuple[nn.Module, Tensor]:
    """The model and its inputs, drawn from the global generator."""
    build, shape = ARCHITECTURES[name]
    return build(), torch.randn(shape)
