"""Images and series of numbers as sequences [n, steps, features]."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from everychip.errors import ModelError


def sequence_shape(input_shape: tuple[int, ...], *, where: str) -> tuple[int, int]:
    """Steps and features of an input: an image [c, h, w] is h rows of c·w, a series is [steps, features].

    >>> sequence_shape((3, 32, 32), where="model.gru")
    (32, 96)
    """
    if len(input_shape) == 3:
        channels, height, width = input_shape
        return height, channels * width
    if len(input_shape) == 2:
        return input_shape[0], input_shape[1]
    raise ModelError(
        where,
        found=f"inputs of shape {list(input_shape)}",
        expected="images [channels, height, width] or series [steps, features]",
    )


def as_sequence(x: Float[Tensor, "n ..."]) -> Float[Tensor, "n steps features"]:
    """The rows of images, from top to bottom; what is a sequence already passes unchanged."""
    return x.transpose(1, 2).flatten(2) if x.ndim == 4 else x
