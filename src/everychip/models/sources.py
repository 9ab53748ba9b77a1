"""The source files of a user's own code: a module and what it imports, as far as it lies outside packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path


def code_of(modules: Iterable[str], *, folder: str | None = None) -> str:
    """SHA-256 of the user's modules and of their own imports; "" where all of them come with packages.

    Args:
        modules: dotted names.
        folder: where they lie, if neither in the working directory nor on Python's path.

    Returns:
        Hexadecimal digits, or "".

    >>> code_of(["torch.nn"])
    ''
    """
    files: dict[str, Path] = {}
    for module in modules:
        _gather(module, files, folder)
    if not files:
        return ""
    found = hashlib.sha256()
    for name, file in sorted(files.items()):
        found.update(f"{name}\n".encode())
        found.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()


def _gather(module: str, files: dict[str, Path], folder: str | None) -> None:
    """Put the file of a module, and of what it imports, into `files`, unless a package brings it."""
    file = None if module in files else file_of(module, folder)
    if file is None:
        return
    files[module] = file
    for name in _imports(module, file):
        _gather(name, files, folder)


def file_of(module: str, folder: str | Path | None) -> Path | None:
    """The file of a user's own module, sought in a folder first; `None` where a package brings it."""
    for root in (*([Path(folder)] if folder is not None else []), *_roots()):
        place = root.joinpath(*module.split("."))
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _roots() -> tuple[Path, ...]:
    """Where a user's own modules lie: the working directory, and the path without packages' folders."""
    return _roots_of(Path.cwd(), tuple(sys.path))


@functools.cache
def _roots_of(here: Path, path: tuple[str, ...]) -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    own = {Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots = dict.fromkeys(entry.resolve() for entry in (here, *map(Path, path)))
    return tuple(root for root in roots if not _of_packages(root, own))


def _of_packages(root: Path, own: Iterable[Path]) -> bool:
    """Whether packages are installed in a folder: by its place, its name, or what installers leave there.

    A user's site, the site below an environment's, `pip install --target`: none of them is in `sysconfig`.
    """
    return (
        any(root.is_relative_to(folder) for folder in own)
        or not {"site-packages", "dist-packages"}.isdisjoint(root.parts)
        or (root / "everychip").is_dir()
        or (root.is_dir() and next(root.glob("*.dist-info"), None) is not None)
    )


def _imports(module: str, file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # the import itself will say so
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
