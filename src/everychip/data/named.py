"""Data as a word: the kind of a data set, or a path, which only its own reader can read."""

from __future__ import annotations

import os
from pathlib import Path

from everychip.data.base import Data
from everychip.errors import DataError, known_names, shown

_READERS = {
    ".safetensors": "ec.data.Tensors(path={path})",
    ".csv": "pandas.read_csv({path})",
    ".tsv": 'pandas.read_csv({path}, sep="\\t")',
    ".parquet": "pandas.read_parquet({path})",
    ".npy": "numpy.load({path}), as (x, y)",
    ".npz": "numpy.load({path}), as (x, y)",
    ".pt": "torch.load({path}, weights_only=True), as (x, y)",
    ".pth": "torch.load({path}, weights_only=True), as (x, y)",
}
_FOLDER = (
    'datasets.load_dataset("imagefolder", data_dir={path}) reads a folder of images for each class, then '
    "ec.data.columns(…, mean=…, std=…)"
)


def named(data: str | os.PathLike[str], *, where: str) -> Data:
    """The data set of a kind, with its defaults; a path is refused with what reads it.

    Args:
        data: a kind of `everychip.data`, or a path.
        where: what errors call it.

    Returns:
        The component.

    >>> named("digits", where="data").label
    'digits'
    >>> named("mine.csv", where="data")
    Traceback (most recent call last):
    everychip.errors.DataError: data: found the path 'mine.csv'; expected the data themselves, ...
    """
    if isinstance(data, str) and data in Data.kinds():
        return Data.parse(data, where=where)
    path, text = Path(data), shown(os.fspath(data))
    is_folder = _is_folder(path)
    reader = _FOLDER if is_folder else _READERS.get(path.suffix.lower())
    what = (
        "the folder" if is_folder else "the path" if reader or isinstance(data, os.PathLike) else "the word"
    )
    raise DataError(
        where,
        found=f"{what} {text}",
        expected="the data themselves, (x, y), a loader, a table, or the name of a data set",
        remedy=known_names(str(data), Data.kinds()) if reader is None else reader.format(path=text),
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
