"""Files that are whole or absent: a write goes to a temporary name first; one process holds a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everychip.errors import StoreError


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name in one step.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "a"), lambda path: path.write_text("all of it") and None)
    ...     [file.name for file in Path(folder).iterdir()]
    ['a']
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""

    def write(draft: Path) -> None:
        draft.write_text(text, encoding="utf-8")

    write_whole(path, write)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole; NaN and infinities, which JSON has not, become null."""
    write_text(path, json.dumps(_finite(data), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def read_json(path: Path, *, form: str) -> dict[str, Any]:
    """Read a JSON file whose `format` is `form`, or say in one line why it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(str(path), found=error.strerror or "an unreadable file", expected=form) from None
    except ValueError:
        raise StoreError(str(path), found="text that is not JSON", expected=form, remedy=_AGAIN) from None
    found = data.get("format") if isinstance(data, dict) else None
    if found != form:
        raise StoreError(str(path), found=f"the format {found!r}", expected=repr(form))
    return dict(data)


_AGAIN = "delete the folder and run the recipe again"


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and make sure that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for draft in folder.glob(".*.part"):
            draft.unlink(missing_ok=True)
        probe = folder / f".probe.{os.getpid()}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            str(folder),
            found=(error.strerror or "an unusable path").lower(),
            expected="a folder that can be written",
            remedy="choose another one: --output DIR",
        ) from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, so that two processes never write into it; a killed holder lets go by itself.

    Where the system knows no such lock (Windows), nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            str(folder),
            found="that another process is writing here",
            remedy="wait for it, or choose another folder: --output DIR",
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)
