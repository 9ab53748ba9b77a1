"""Any Hugging Face image set for classification, from the hub or from a local folder in its layout."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from everychip.data.base import Data
from everychip.data.images import decode, normalise
from everychip.data.place import content_of, data_files, fingerprint, local_folder
from everychip.data.rows import Layout, Rows, open_rows
from everychip.data.sampling import stratified_order
from everychip.data.values import Arrays, Splits
from everychip.errors import DataError
from everychip.rng import rng_for


class Hub(Data):
    """An image set of the Hugging Face hub by its `name`, as in "ylecun/mnist"; needs the extra `hub`.

    `path`: a local folder in the hub's layout; else the folder below EVERYCHIP_DATA that is called as the
    last part of the name; else the set comes from the hub. `image_column`, `label_column`, `train_split` and
    `test_split` are named as in the set: the first column of images, "label", "train" and "test" where
    nothing else is said.
    `size`: side in pixels after bilinear resizing. Pixels in 0 … 1 become (pixel − mean) / std, one number
    for all channels or one each. `limit`, `test_limit`: how many images are used, a random subset in which
    the classes have their shares; `seed` draws it, and the smaller subset is part of the larger one.

    >>> Hub(name="ylecun/mnist", size=32).label
    'mnist'
    """

    name: str = Field(min_length=1, description="The data set's name on the hub.")
    path: Annotated[
        str | None,
        Field(description="A local folder in the hub's layout; absent, EVERYCHIP_DATA or the hub."),
    ] = None
    image_column: Annotated[
        str | None, Field(description="The column of the images; absent, the first one of images.")
    ] = None
    label_column: Annotated[str, Field(description="The column of the labels.")] = "label"
    train_split: Annotated[str | None, Field(description="The split to train on; absent, train.")] = None
    test_split: Annotated[str | None, Field(description="The split to measure on; absent, test.")] = None
    size: int | None = Field(
        default=None,
        ge=1,
        le=4_096,
        description="Rows and columns that images are resized to; absent, as they are.",
    )
    mean: Annotated[
        tuple[float, ...], Field(description="Subtracted from each channel, which is 0 … 1 before.")
    ] = (0.5,)
    std: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...], Field(description="What each channel is then divided by.")
    ] = (0.5,)
    limit: int | None = Field(
        default=None, ge=1, description="At most so many training images, drawn at random."
    )
    test_limit: int | None = Field(
        default=None, ge=1, description="At most so many test images, drawn at random."
    )
    seed: Annotated[int, Field(description="Which images the limits draw.")] = 0

    @property
    def label(self) -> str:
        """The last part of the set's name."""
        return self.name.rsplit("/", 1)[-1]

    def content(self) -> str:
        """SHA-256 of the files of the local folder; "" for a set that comes from the hub."""
        folder = local_folder(self.name, path=self.path)
        return content_of(sorted(data_files(folder)), root=folder) if folder else ""

    def load(self) -> Splits:
        """The decoded splits; the last two sets stay in memory, for as long as their files do not change."""
        folder = local_folder(self.name, path=self.path)
        return _load(self, folder, fingerprint(folder))


@lru_cache(maxsize=2)
def _load(data: Hub, folder: Path | None, _files: tuple[tuple[str, int, int], ...]) -> Splits:
    layout = Layout(
        image=data.image_column,
        label=data.label_column,
        train=data.train_split or "train",
        test=data.test_split or "test",
    )
    train, test, classes = open_rows(data.name, folder=folder, layout=layout)
    return Splits(
        train=_arrays(train, data, limit=data.limit, key="limit"),
        test=_arrays(test, data, limit=data.test_limit, key="test_limit"),
        classes=classes,
        name=data.label,
    )


def _arrays(rows: Rows, data: Hub, *, limit: int | None, key: str) -> Arrays:
    if limit is not None and limit > len(rows.labels):
        raise DataError(
            f"data.{key}",
            found=str(limit),
            expected=f"at most {len(rows.labels)}, the images of {rows.where}",
        )
    chosen = stratified_order(rows.labels, rng_for(data.seed, "data", data.label, key))[:limit].sort().values
    pixels = decode(rows.cells(chosen), size=data.size, where=rows.where)
    return Arrays(normalise(pixels, mean=data.mean, std=data.std, where=rows.where), rows.labels[chosen])
