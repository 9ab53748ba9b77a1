"""What a worker does: a run or a part of one, into a folder, or into files that it returns."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from everychip.errors import EverychipError
from everychip.freed_memory import keep_freed_memory
from everychip.progress import Event
from everychip.storage.files import make_folder, write_text, write_whole
from everychip.study import store
from everychip.study.blocks import Block, Part
from everychip.study.execution import measure_block, run, train_run
from everychip.study.executors.base import Tell
from everychip.study.experiment import Experiment
from everychip.study.unfinished import BEGUN, STATE, block_files, blocks_in

FAILURE = "failure.txt"
FILES = (store.RECIPE, store.MODEL, store.DRAWS, store.RECORD)
"""Of a complete run; the record, which says that all is there, is the last."""
TRAINED = (store.RECIPE, store.MODEL, BEGUN, STATE)
"""Of one whose training is done."""
_TELL_EVERY = 0.2  # seconds


def execute(table: dict[str, Any], folder: str, trained: str, part: Part = "run", *, tell: Tell) -> str:
    """Run one recipe, or a part of it; "", or one line why there is no run.

    trained: the folder whose weights are taken, if named.
    """
    experiment = Experiment.read(table, where="recipe")
    last = 0.0

    def progress(event: Event) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY or event.done >= event.total:
            last = time.monotonic()
            tell(experiment.id, event)

    how: dict[str, Any] = {"trained": Path(trained) if trained else None, "progress": progress}
    try:
        if isinstance(part, Block):
            measure_block(experiment, Path(folder), part)
        elif part == "training":
            train_run(experiment, Path(folder), **how)
        else:
            run(experiment, Path(folder), **how)
    except EverychipError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a study goes on without the runs that fail
        return _keep_traceback(error, Path(folder) / store.PARTIAL)
    return ""


def _keep_traceback(error: Exception, folder: Path) -> str:
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FAILURE, traceback.format_exc())
    except OSError:
        return words
    return f"{words} (see {folder.parent.name}/{store.PARTIAL}/{FAILURE})"


def unheard(_run: str, _event: Event) -> None:
    """Progress that nobody can hear."""


def executed_apart(
    table: dict[str, Any],
    trained: Mapping[str, bytes] | None,
    part: Part = "run",
    begun: Mapping[str, bytes] | None = None,
) -> tuple[str, dict[str, bytes]]:
    """Run one recipe, or a part of it, where the study's folder is not: the one line, and its files.

    Args:
        table: the resolved recipe.
        trained: the files of a complete run of the same training, by name.
        part: what of the run.
        begun: the files of the unfinished run, by name.

    Returns:
        "" and the files by name, or one line and what there is of a traceback.
    """
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="everychip-") as scratch:
        source, folder = Path(scratch, "trained"), Path(scratch, "run")
        if trained:
            put(trained, source)
        if begun:
            put(begun, folder)
        words = execute(table, str(folder), str(source) if trained else "", part, tell=unheard)
        return words, read_files(folder, (FAILURE,) if words else files_of(part))


def files_of(part: Part) -> tuple[str, ...]:
    """The names of what a part of a run leaves, in the order in which it is written.

    >>> files_of("run")[-1], files_of(Block(0, 50, 25))
    ('run.json', ('block-0-50-25.parquet', 'block-0-50-25.json'))
    """
    if isinstance(part, Block):
        return block_files(part)
    return FILES if part == "run" else TRAINED


def files_begun(folder: Path, part: Part) -> dict[str, bytes]:
    """The files of an unfinished run that a part of it needs, by name; none before its training is done."""
    if store.is_complete(folder) or not (folder / store.PARTIAL / STATE).exists():
        return {}
    blocks = [block for known in blocks_in(folder).values() for block in known] if part == "run" else []
    return read_files(folder, [*TRAINED, *(name for block in blocks for name in block_files(block))])


def read_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the named files of a run that are there, by name."""
    paths = {name: _place(folder, name) for name in names}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def put(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a run, each whole, in the order in which a run writes them."""
    make_folder(folder)
    for name, content in files.items():
        path = _place(folder, name)
        path.parent.mkdir(exist_ok=True)

        def write(draft: Path, content: bytes = content) -> None:
            draft.write_bytes(content)

        write_whole(path, write)
    if store.RECORD in files:
        store.drop_partial(folder)


def _place(folder: Path, name: str) -> Path:
    """Where a file of a run lies: those of a complete one in its folder, the others below it."""
    return folder / name if name in FILES else folder / store.PARTIAL / name
