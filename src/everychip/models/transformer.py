"""A small transformer encoder for images, series and tokens."""

from __future__ import annotations

from typing import Self

from jaxtyping import Float, Int, Shaped
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from everychip.errors import ModelError
from everychip.models.base import Model
from everychip.models.sequence import as_sequence, sequence_shape


class Transformer(Model):
    """Encoder layers with the norm first, learned positions, the mean over steps, then Linear to the classes.

    An image is read row by row, or in `patch` × `patch` squares; a series [steps, features] step by step;
    whole numbers [steps] are tokens of a `vocabulary`. `dim` features per step, `heads` of attention,
    `depth` layers with `feedforward` hidden features and `dropout`.

    Source: Vaswani et al., Attention is all you need, NeurIPS 2017; patches: Dosovitskiy et al., ICLR 2021.

    >>> net = Transformer(dim=32, patch=4).build((1, 28, 28), 10)
    >>> net.embed, net.positions
    (Linear(in_features=16, out_features=32, bias=True), Embedding(49, 32))
    """

    dim: int = Field(default=64, ge=1, le=65_536, description="The width of the embeddings.")
    depth: int = Field(default=2, ge=1, le=1_000, description="How many blocks.")
    heads: int = Field(default=4, ge=1, le=65_536, description="Attention heads of each block.")
    feedforward: int = Field(
        default=128, ge=1, le=65_536, description="The width of each block's hidden layer."
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="The share of activations that dropout removes in training, 0 … 1.",
    )
    patch: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="The side of the squares an image is read in; absent, rows.",
    )
    vocabulary: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="How many tokens there are; absent for features.",
    )

    @model_validator(mode="after")
    def _heads_share_features(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads must divide dim: {self.heads} heads do not share {self.dim} features")
        return self

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for inputs of this shape."""
        steps, embed = self._embedding(input_shape)
        return TransformerNetwork(self, embed, steps=steps, classes=classes)

    def _embedding(self, input_shape: tuple[int, ...]) -> tuple[int, nn.Module]:
        where = f"model.{self.kind}"
        if self.vocabulary is not None:
            if len(input_shape) != 1:
                raise ModelError(
                    where, found=f"inputs of shape {list(input_shape)}", expected="tokens [steps]"
                )
            return input_shape[0], nn.Embedding(self.vocabulary, self.dim)
        if self.patch is not None:
            channels, height, width = self.image_shape(input_shape, least=self.patch)
            if height % self.patch or width % self.patch:
                raise ModelError(
                    where,
                    found=f"images of {height}×{width} pixels",
                    expected=f"sides that are multiples of patch={self.patch}",
                )
            return (height // self.patch) * (width // self.patch), nn.Linear(
                channels * self.patch**2, self.dim
            )
        if len(input_shape) == 1:
            raise ModelError(
                where,
                found=f"inputs of shape {list(input_shape)}",
                expected="tokens",
                remedy="set model.vocabulary",
            )
        steps, features = sequence_shape(input_shape, where=where)
        return steps, nn.Linear(features, self.dim)


class TransformerNetwork(nn.Module):
    """The layers of `Transformer`."""

    def __init__(self, config: Transformer, embed: nn.Module, *, steps: int, classes: int) -> None:
        super().__init__()
        self.patch = config.patch
        self.embed = embed
        # An embedding, not a bare parameter: positions are looked up and added digitally, not multiplied.
        self.positions = nn.Embedding(steps, config.dim)
        nn.init.normal_(self.positions.weight, std=0.02)
        # Made one by one: nn.TransformerEncoder copies one layer, and all would start with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.dim,
                config.heads,
                config.feedforward,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.output = nn.Linear(config.dim, classes)

    def forward(self, x: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images, series or tokens."""
        x = self.embed(self._steps(x)) + self.positions.weight
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.output(self.norm(x).mean(dim=1))
        return logits

    def _steps(self, x: Tensor) -> Float[Tensor, "n steps features"] | Int[Tensor, "n steps"]:
        if self.patch is None:
            return as_sequence(x)
        return functional.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
