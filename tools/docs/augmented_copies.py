"""Fashion-MNIST with two augmented copies of each training image, as the code of Büchel et al. makes them.

    python tools/docs/augmented_copies.py FASHION_MNIST COPIES
    everychip study buechel-published --set data.path=COPIES

A copy is turned by up to 10° either way (bilinear, edges continued) and mirrored one time in two. An image
and its copies are rows of one split, so that its validation part shares images with the rest, as theirs does.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from everychip.rng import rng_for

COPIES, DEGREES = 2, 10.0


def augmented(images: Tensor, *, copy: int) -> Tensor:
    """The images [n, h, w] of bytes, each turned and perhaps mirrored; the same for the same copy."""
    rng = rng_for(0, "augmented copies", copy)
    angle = (2 * torch.rand(len(images), generator=rng) - 1) * math.radians(DEGREES)
    sign = 1 - 2 * (torch.rand(len(images), generator=rng) < 0.5).float()
    still = torch.zeros_like(angle)
    rows = [angle.cos() * sign, -angle.sin(), still], [angle.sin() * sign, angle.cos(), still]
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    pixels = images[:, None].float()
    grid = affine_grid(turn, list(pixels.shape), align_corners=False)
    turned = grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned[:, 0].round().byte()


def write(source: Path, target: Path) -> None:
    """The training split with its copies, and the test split as it is, in the hub's layout."""
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        rows = load_dataset("parquet", data_files=str(source / f"{split}-*.parquet"), split="train")
        read = rows.with_format("torch")[:]
        images, labels = read["image"].reshape(len(rows), *read["image"].shape[-2:]), read["label"]
        copies = [images]
        if split == "train":
            copies += [augmented(images, copy=number) for number in range(COPIES)]
        pixels = torch.stack(copies, dim=1).flatten(0, 1).numpy()
        table = {"image": list(pixels), "label": labels.repeat_interleave(len(copies)).tolist()}
        path = target / f"{split}-00000-of-00001.parquet"
        Dataset.from_dict(table, features=rows.features).to_parquet(str(path.with_suffix(".tmp")))
        path.with_suffix(".tmp").replace(path)
        print(f"{path}: {len(pixels):,} images")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
