"""From encoded images to one tensor: decode, resize, normalise."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

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


def decode(
    cells: Mapping[int, Mapping[str, Any] | None], *, size: int | None, where: str
) -> UInt8[Tensor, "n c h w"]:
    """The images as bytes 0 … 255, one channel where all are grey, else three; resized bilinearly to `size`.

    `cells` maps a row's number in the split to its encoded image, which has `bytes` or a `path`.
    One thread: Pillow holds the interpreter's lock for such small images; two threads took twice as long.
    """
    pixels = [_pixels(cell, where=f"{where}[{row}]") for row, cell in cells.items()]
    if any(image.ndim == 3 for image in pixels):
        pixels = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in pixels]
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(pixels):
        rows_of.setdefault(image.shape, []).append(row)
    if size is None and len(rows_of) > 1:
        first, second = list(rows_of)[:2]
        raise DataError(
            where,
            found=f"images of {first[0]}×{first[1]} and of {second[0]}×{second[1]} pixels",
            expected="one size",
            remedy="set data.size, such as data.size=32",
        )
    batches = [_resized(np.stack([pixels[row] for row in rows]), size=size) for rows in rows_of.values()]
    if len(batches) == 1:
        return batches[0]
    order = torch.tensor([row for rows in rows_of.values() for row in rows])
    return torch.cat(batches)[order.argsort()]


def _resized(images: NDArray[np.uint8], *, size: int | None) -> UInt8[Tensor, "n c h w"]:
    batch = torch.from_numpy(images)
    batch = batch.unsqueeze(1) if batch.ndim == 3 else batch.permute(0, 3, 1, 2)
    if size is None or batch.shape[-2:] == (size, size):
        return batch
    return functional.interpolate(batch, size=(size, size), mode="bilinear", antialias=True)


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


def _pixels(cell: Mapping[str, Any] | None, *, where: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    stored = cell or {}
    content, path = stored.get("bytes"), stored.get("path")
    if not content and not path:
        raise DataError(where, found="no image", expected="the bytes of a PNG or JPEG file")
    if not content:
        where = f"{where} ({path})"  # a file of its own, which somebody has to find
    try:
        source = io.BytesIO(content or Path(str(path)).read_bytes())  # Pillow leaves a damaged file open
        # As `datasets` does: a camera that was held upright says so in a tag and stores the picture lying.
        image: Image.Image = ImageOps.exif_transpose(Image.open(source))
        if image.mode not in _GREY | _COLOUR:
            raise DataError(where, found=f"an image of mode {image.mode}", expected="8 bits per channel")
        if image.mode not in ("L", "RGB"):
            image = image.convert("L" if image.mode in _GREY else "RGB")
        return np.asarray(image)
    except DataError:
        raise
    except UnidentifiedImageError:  # its own text is the address of a buffer
        raise DataError(where, found="bytes that are no image", expected="a whole PNG or JPEG file") from None
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(
            where, found=f"a damaged image ({error})", expected="a whole PNG or JPEG file"
        ) from None
