"""Where a hub data set lies: an explicit folder, a folder below EVERYCHIP_DATA, or the hub itself."""

from __future__ import annotations

import os
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


def fingerprint(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of every file in the folder: it differs once the data differ."""
    if folder is None:
        return ()
    stats = [(str(file), file.stat()) for file in sorted(folder.rglob("*")) if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
