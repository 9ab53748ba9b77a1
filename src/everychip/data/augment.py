"""Random crops and flips of a batch of images."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from everychip.data.base import Augment
from everychip.errors import DataError


class CropFlip(Augment):
    """Pads each image by `padding` pixels, crops it at random to its old size and mirrors it with probability ½.

    `fill`: the padding's value; −1 is black at mean = std = 0.5. Every image has its own offsets.

    Source: He et al., Deep residual learning, CVPR 2016, section 4.2 (CIFAR-10).

    >>> x = torch.zeros(2, 1, 8, 8)
    >>> CropFlip(padding=2)(x, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 8, 8])
    """

    padding: int = Field(default=4, ge=0)
    flip: bool = True
    fill: float = -1.0

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
        padded = functional.pad(x, (self.padding,) * 4, value=self.fill)
        images = torch.arange(count, device=x.device)
        # Indexing around a slice puts the sliced channels last: [n, h, w, c].
        taken = padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return taken.permute(0, 3, 1, 2)
