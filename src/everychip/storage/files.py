"""Files that are whole or absent: a write goes to a temporary name first; one process holds a folder."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everychip.errors import StoreError


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name in one step.

    The content reaches the disk before the name does, so a power cut leaves the old file or the new one.
    A link is followed, and what is no file (a device such as /dev/null, a pipe) is written into.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "a"), lambda path: path.write_text("all of it") and None)
    ...     [file.name for file in Path(folder).iterdir()]
    ['a']
    """
    if _is_stream(path):
        _write_through(path, write)
        return
    target = path.resolve() if path.is_symlink() else path
    draft = target.with_name(f".{target.name}.{os.getpid()}{DRAFT}")
    try:
        write(draft)
        _settle(draft)
        os.replace(draft, target)
        _sync(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_proven(path: Path, write: Callable[[Path], None]) -> str:
    """Write a file whole; returns the SHA-256 of what was written, taken before the file has its name."""
    proof = ""

    def both(draft: Path) -> None:
        nonlocal proof
        write(draft)
        proof = digest(draft)

    write_whole(path, both)
    return proof


DRAFT = ".part"
"""Ends the names of unfinished files."""


def _is_stream(path: Path) -> bool:
    """Whether a name stands for something that is written into and never replaced."""
    return path.exists() and (not path.is_file() or path.absolute().is_relative_to("/dev"))


def _write_through(path: Path, write: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, "draft")
        write(draft)
        with draft.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)


def _settle(draft: Path) -> None:
    """Give a new file the permissions of any new file, and wait until its content is on the disk."""
    if draft.stat().st_nlink == 1:  # not a second name of another's file
        draft.chmod(0o666 & ~_umask())
    _sync(draft)


@functools.cache
def _umask() -> int:
    known = os.umask(0o077)
    os.umask(known)
    return known


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk, where the system can wait for one."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> str:
    """Write a text file whole; returns its SHA-256."""

    def write(draft: Path) -> None:
        draft.write_text(text, encoding="utf-8", newline="\n")

    return write_proven(path, write)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole; NaN and infinities, which JSON has not, become null."""
    write_text(path, json.dumps(_finite(data), indent=1, allow_nan=False) + "\n")


def write_record(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole, with the SHA-256 of what it says, which `read_json` compares."""
    write_json(path, {**data, SEAL: _seal(_finite(data))})


SEAL = "seal"


def _seal(data: Mapping[str, Any]) -> str:
    said = {str(key): value for key, value in data.items() if key != SEAL}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


_AGAIN = "delete the folder and run the recipe again"


def read_json(path: Path, *, form: str, sealed: bool = False, remedy: str = _AGAIN) -> dict[str, Any]:
    """Read a JSON file whose `format` is `form`, or say in one line why it is not one.

    A seal is compared with what the file says; sealed: refuse a file without one, as earlier versions wrote.
    remedy: what to do about a damaged one.
    """
    if path.exists() and not path.is_file():  # a pipe may never end
        raise StoreError(str(path), found="a folder, a device or a pipe", expected=f"a file, {form}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(str(path), found=error.strerror or "an unreadable file", expected=form) from None
    except (ValueError, RecursionError):
        raise StoreError(str(path), found="text that is not JSON", expected=form, remedy=remedy) from None
    found = data.get("format") if isinstance(data, dict) else None
    if found != form:
        raise StoreError(str(path), found=f"the format {found!r}", expected=repr(form))
    if data.get(SEAL, "" if sealed else None) not in (None, _seal(data)):
        raise StoreError(
            str(path),
            found="content that differs from its own SHA-256",
            expected="the file as it was written",
            remedy=remedy,
        )
    return dict(data)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text as `write_text` writes it, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and make sure that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}{DRAFT}"
        probe.touch()
        probe.unlink(missing_ok=True)  # who takes the folder now may have cleaned it up
    except OSError as error:
        raise StoreError(
            str(folder),
            found=(error.strerror or "an unusable path").lower(),
            expected="a folder that can be written",
            remedy="choose another one: --output DIR",
        ) from None


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder, so that two processes never write into it; a killed holder lets go by itself.

    shared: beside others that hold it so, each of which writes files of its own; one alone is kept out.

    What a killed one left half-written is removed, and what another process writes just now, a report for
    instance, is not. Where the system knows no such lock (Windows), nothing is held, and nothing removed.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            str(folder),
            found="that another process is writing here",
            remedy="wait for it, or choose another folder: --output DIR",
        ) from None
    except OSError:  # a file system without locks
        pass
    else:
        for draft in () if shared else folder.glob(f".*{DRAFT}"):
            if not _being_written(draft):
                draft.unlink(missing_ok=True)
    try:
        yield
    finally:
        os.close(handle)


def _being_written(draft: Path) -> bool:
    """Whether the process that a draft is named after is another one that runs on this machine."""
    pid = draft.name.removesuffix(DRAFT).rpartition(".")[2]
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
