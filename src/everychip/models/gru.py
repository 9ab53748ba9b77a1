"""A recurrent network for sequences."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from everychip.models.base import Model
from everychip.models.sequence import as_sequence, sequence_shape


class GRU(Model):
    """Gated recurrent layers over the rows of an image or the steps of a series; Linear on the last step.

    `hidden`: features of the state; `layers`: how many recurrent layers lie on each other.

    Source: Cho et al., Learning phrase representations using RNN encoder–decoder, EMNLP 2014.

    >>> GRU(hidden=32).build((1, 28, 28), 10).recurrent
    GRU(28, 32, batch_first=True)
    """

    hidden: int = Field(default=64, ge=1, le=65_536, description="The width of the recurrent state.")
    layers: int = Field(default=1, ge=1, le=1_000, description="How many recurrent layers.")

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module, for images and for series of any length."""
        _, features = sequence_shape(input_shape, where=f"model.{self.kind}")
        return GRUNetwork(features, classes, hidden=self.hidden, layers=self.layers)


class GRUNetwork(nn.Module):
    """The layers of `GRU`."""

    def __init__(self, features: int, classes: int, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(features, hidden, num_layers=layers, batch_first=True)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images [n, c, h, w] or series [n, steps, features]."""
        states, _ = self.recurrent(as_sequence(x))
        logits: Tensor = self.output(states[:, -1])
        return logits
