"""What a worker does: one run into a folder, or into files that it returns where it shares no folder."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everychip.errors import EverychipError
from everychip.progress import Event
from everychip.storage.files import make_folder, write_text, write_whole
from everychip.study import store
from everychip.study.execution import run
from everychip.study.executors.base import Tell
from everychip.study.experiment import Experiment

FAILURE = "failure.txt"
FILES = (store.RECIPE, store.MODEL, store.DRAWS, store.RECORD)
"""Of a complete run; the record, which says that all is there, is the last."""
_TELL_EVERY = 0.2  # seconds


def execute(table: dict[str, Any], folder: str, trained: str, *, tell: Tell) -> str:
    """Run one recipe, its weights from the folder `trained` if named; "", or one line why there is no run."""
    experiment = Experiment.read(table, where="recipe")
    last = 0.0

    def progress(event: Event) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY or event.done >= event.total:
            last = time.monotonic()
            tell(experiment.id, event)

    try:
        run(experiment, Path(folder), trained=Path(trained) if trained else None, progress=progress)
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
    table: dict[str, Any], trained: Mapping[str, bytes] | None
) -> tuple[str, dict[str, bytes]]:
    """Run one recipe where the study's folder is not: the one line, and the files of the run.

    Args:
        table: the resolved recipe.
        trained: the files of a complete run of the same training, by name.

    Returns:
        "" and the files by name, or one line and what there is of a traceback.
    """
    with tempfile.TemporaryDirectory(prefix="everychip-") as scratch:
        source, folder = Path(scratch, "trained"), Path(scratch, "run")
        if trained:
            put(trained, source)
        words = execute(table, str(folder), str(source) if trained else "", tell=unheard)
        if not words:
            return "", {name: (folder / name).read_bytes() for name in FILES}
        failure = folder / store.PARTIAL / FAILURE
        return words, {FAILURE: failure.read_bytes()} if failure.exists() else {}


def put(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a run, each whole, in the order in which a run writes them."""
    make_folder(folder)
    for name, content in files.items():
        inside = folder / store.PARTIAL if name == FAILURE else folder
        inside.mkdir(exist_ok=True)

        def write(draft: Path, content: bytes = content) -> None:
            draft.write_bytes(content)

        write_whole(inside / name, write)
    if store.RECORD in files:
        store.drop_partial(folder)
