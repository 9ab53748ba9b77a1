"""Random crops and flips of a batch of images."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from everychip.data.base import Augment
from everychip.errors import DataError


class CropFlip(Augment):
    """Pads images by `padding` pixels, crops them at random to their old size; `flip` mirrors every other.

    `fill`: the padding's value, one for all channels or one each; −1 is black at mean = std = 0.5, in general
    −mean/std. Every image has its own offsets.

    Source: He et al., Deep residual learning, CVPR 2016, section 4.2 (CIFAR-10).

    >>> x = torch.zeros(2, 1, 8, 8)
    >>> CropFlip(padding=2)(x, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 8, 8])
    """

    padding: int = Field(
        default=4, ge=0, le=1_024, description="Pixels around an image before it is cropped at random."
    )
    flip: Annotated[bool, Field(description="Whether half of the images are mirrored.")] = True
    fill: tuple[float, ...] = Field(
        default=(-1.0,), min_length=1, description="What the padding holds, one number or one per channel."
    )

    def __call__(self, x: Float[Tensor, "n c h w"], rng: torch.Generator) -> Float[Tensor, "n c h w"]:
        """The changed batch, in the memory format of channels last; one gather for all images."""
        if x.ndim != 4:
            raise DataError(
                "augment.crop_flip", found=f"inputs of shape {list(x.shape)}", expected="images [n, c, h, w]"
            )
        count, _, height, width = x.shape
        shifts = torch.randint(2 * self.padding + 1, (2, count, 1), generator=rng, device=rng.device).to(
            x.device
        )
        rows = shifts[0] + torch.arange(height, device=x.device)
        columns = torch.arange(width, device=x.device).expand(count, width)
        if self.flip:
            mirrored = torch.rand((count, 1), generator=rng, device=rng.device).to(x.device) < 0.5
            columns = torch.where(mirrored, width - 1 - columns, columns)
        columns = shifts[1] + columns
        padded = self._padded(x)
        images = torch.arange(count, device=x.device)
        # Indexing around a slice puts the sliced channels last: [n, h, w, c].
        taken = padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return taken.permute(0, 3, 1, 2)

    def _padded(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        count, channels, height, width = x.shape
        if len(self.fill) not in (1, channels):
            raise DataError(
                "augment.fill", found=f"{len(self.fill)} numbers", expected=f"1 or {channels}, the channels"
            )
        edge = self.padding
        fill = x.new_tensor(self.fill).reshape(1, -1, 1, 1)
        padded = fill.expand(count, channels, height + 2 * edge, width + 2 * edge).contiguous()
        padded[:, :, edge : edge + height, edge : edge + width] = x
        return padded
