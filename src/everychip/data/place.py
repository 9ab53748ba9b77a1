"""Where a hub data set lies: an explicit folder, a folder below EVERYCHIP_DATA, or the hub itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from everychip.errors import DataError

VARIABLE = "EVERYCHIP_DATA"


def local_folder(name: str, *, path: str | None) -> Path | None:
    """The folder that holds the set `name`, or None where it has to come from the hub.

    `path` wins; else the folder below EVERYCHIP_DATA that is called exactly as the last part of `name`.
    """
    if path is not None:
        folder = Path(path).expanduser().absolute()
        if not folder.is_dir():
            raise DataError(
                "data.path",
                found=f"no folder {folder}",
                expected="a folder with the parquet files of the hub's layout",
            )
        return folder
    root = os.environ.get(VARIABLE)
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise DataError(
            VARIABLE, found=f"no folder {root}", expected="a folder that holds data sets, or no variable"
        )
    folder = Path(root).expanduser().absolute() / name.rsplit("/", 1)[-1]
    return folder if folder.is_dir() else None


def data_files(folder: Path) -> Iterator[Path]:
    """The files of a data set in a folder: all but hidden ones and descriptions."""
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden and file.suffix != ".md":
            yield file


def content_of(files: Sequence[Path], *, root: Path | None = None) -> str:
    """SHA-256 of files, with their names below `root`; wherever they lie.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a")
    ...     _ = file.write_text("content")
    ...     len(content_of([file]))
    64
    """
    found = hashlib.sha256()
    for file in files:
        about = file.stat()
        name = file.relative_to(root).as_posix() if root else ""
        content = _digest(file, about.st_size, about.st_mtime_ns, about.st_ino)
        found.update(f"{name}\n{content}\n".encode())
    return found.hexdigest()


@lru_cache(maxsize=65536)  # every run of a study asks; an image set may have a file for each image
def _digest(file: Path, _size: int, _changed: int, _inode: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fingerprint(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of every file in the folder: it differs once the data differ."""
    if folder is None:
        return ()
    stats = [(str(file), file.stat()) for file in sorted(folder.rglob("*")) if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
