"""From encoded images to one tensor: decode, resize, normalise."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from everychip.errors import DataError

_GREY = {"1", "L", "LA"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
)  # what Pillow's decoders raise


def decode(cells: Iterable[Mapping[str, Any]], *, size: int | None, where: str) -> UInt8[Tensor, "n c h w"]:
    """The images as bytes 0 … 255, one channel where all are grey, else three; resized to size × size bilinearly.

    One thread: Pillow holds the interpreter's lock for such small images, and two threads took twice as long.
    """
    pixels = [_pixels(cell, size=size, where=f"{where}[{row}]") for row, cell in enumerate(cells)]
    shapes = {image.shape[:2] for image in pixels}
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        raise DataError(
            where,
            found=f"images of {first[0]}×{first[1]} and of {second[0]}×{second[1]} pixels",
            expected="one size",
            remedy="set data.size, such as data.size=32",
        )
    if any(image.ndim == 3 for image in pixels):
        pixels = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in pixels]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return torch.from_numpy(np.stack(pixels)).unsqueeze(1)


def normalise(
    pixels: UInt8[Tensor, "n c h w"], *, mean: Sequence[float], std: Sequence[float], where: str
) -> Float[Tensor, "n c h w"]:
    """(pixels / 255 − mean) / std, with one mean and std for all channels or one for each.

    >>> normalise(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), mean=[0.5], std=[0.5], where="").item()
    1.0
    """
    channels = pixels.shape[1]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise DataError(
                f"data.{name}",
                found=f"{len(values)} numbers for the {channels} channel(s) of {where}",
                expected=f"1 or {channels}",
            )
    x = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    centre, spread = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
    return x.div_(255).sub_(centre).div_(spread)  # in place: the set may be large


def _pixels(cell: Mapping[str, Any], *, size: int | None, where: str) -> NDArray[np.uint8]:
    from PIL import Image

    source = io.BytesIO(cell["bytes"]) if cell.get("bytes") else cell.get("path")
    if not source:
        raise DataError(where, found="no image", expected="the bytes of a PNG or JPEG file")
    try:
        image: Image.Image = Image.open(source)
        if image.mode not in _GREY | _COLOUR:
            raise DataError(where, found=f"an image of mode {image.mode}", expected="8 bits per channel")
        if image.mode not in ("L", "RGB"):
            image = image.convert("L" if image.mode in _GREY else "RGB")
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            where, found=f"a damaged image ({error})", expected="a whole PNG or JPEG file"
        ) from None
