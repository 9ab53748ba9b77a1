"""The rows of an image set, opened with Hugging Face `datasets`: still encoded images, and labels."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from everychip.data.place import VARIABLE
from everychip.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, eq=False)
class Rows:
    """One split: its labels, read at once, and its images, read when they are requested."""

    dataset: Dataset
    labels: Int[Tensor, " n"]
    image_column: str
    where: str

    def cells(self, indices: Int[Tensor, " k"]) -> dict[int, Mapping[str, Any] | None]:
        """The encoded images by row: mappings with `bytes` or `path`, None where there is none."""
        from datasets import Image

        images = self.dataset.select_columns(self.image_column).cast_column(
            self.image_column, Image(decode=False)
        )
        rows = indices.tolist()
        return dict(zip(rows, images[rows][self.image_column], strict=True))


@dataclass(frozen=True, eq=False)
class Layout:
    """Which columns and splits of a set are read; without `image`, the first column of images."""

    image: str | None
    label: str
    train: str
    test: str


def open_rows(name: str, *, folder: Path | None, layout: Layout) -> tuple[Rows, Rows, int]:
    """The rows to train and to test on, and the number of classes."""
    splits = _open(name, folder)
    train = _rows(splits, layout.train, name=name, layout=layout, key="train_split")
    test = _rows(splits, layout.test, name=name, layout=layout, key="test_split")
    named = getattr(train.dataset.features[layout.label], "num_classes", None)
    highest = max(int(train.labels.max()), int(test.labels.max()))
    return train, test, int(named or highest + 1)


def _open(name: str, folder: Path | None) -> Mapping[str, Dataset]:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("data.hub", "hub") from None
    if folder is not None and glob.has_magic(str(folder)):  # it would read nothing, or another folder
        raise DataError(
            str(folder),
            found="a path with [, * or ?, which the datasets library takes as a pattern",
            expected="a folder whose path has none of them",
            remedy="rename it",
        )
    try:
        with _progress_bars(shown=folder is None):
            splits: Mapping[str, Dataset] = datasets.load_dataset(str(folder) if folder else name)
        return splits
    except Exception as error:  # noqa: BLE001  its own, Arrow's, the network's, the file system's errors
        raise _refusal(name, folder, error) from None


def _refusal(name: str, folder: Path | None, error: BaseException) -> DataError:
    while error.__cause__ is not None:
        error = error.__cause__
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if folder is None:
        return DataError(
            name,
            found=f"no such set to be had from the hub ({text})",
            remedy=f"set data.path or {VARIABLE} to a local copy",
        )
    return DataError(
        str(folder),
        found=f"no readable data set ({text})",
        expected="whole parquet files in the hub's layout",
    )


def _rows(splits: Mapping[str, Dataset], split: str, *, name: str, layout: Layout, key: str) -> Rows:
    where = f"{name}.{split}"
    if split not in splits:
        known = ", ".join(splits)
        raise DataError(name, found=f"no split {split!r}", expected=f"data.{key} to be one of {known}")
    dataset = splits[split]
    if len(dataset) == 0:
        raise DataError(where, found="no rows", expected="at least one image")
    image = _image_column(dataset, layout.image, where=where)
    return Rows(dataset, _labels(dataset, layout.label, where=where), image, where)


def _image_column(dataset: Dataset, asked: str | None, *, where: str) -> str:
    from datasets import Image

    names = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    if asked is None and names:
        return str(names[0])
    if asked is not None and asked in names:
        return asked
    found = "no column of images" if asked is None else f"no column of images called {asked!r}"
    raise DataError(
        where, found=found, expected=f"one of {', '.join(names) or 'none'}; all columns: {_names(dataset)}"
    )


def _labels(dataset: Dataset, column: str, *, where: str) -> Tensor:
    if column not in dataset.features:
        raise DataError(
            where, found=f"no column {column!r}", expected=f"data.label_column to be one of {_names(dataset)}"
        )
    values: Sequence[Any] = dataset.select_columns(column)[:][column]
    if not all(type(value) is int for value in values):
        odd = next(value for value in values if type(value) is not int)
        raise DataError(f"{where}.{column}", found=f"the label {odd!r}", expected="whole numbers 0, 1, 2, …")
    labels = torch.tensor(values)
    if (low := int(labels.min())) < 0:
        raise DataError(f"{where}.{column}", found=f"the label {low}", expected="whole numbers 0, 1, 2, …")
    return labels


def _names(dataset: Dataset) -> str:
    return ", ".join(dataset.features)


@contextmanager
def _progress_bars(*, shown: bool) -> Iterator[None]:
    from datasets.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
