"""Run folders: recipe.toml, model.safetensors, draws.parquet, and run.json, which says that all is there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everychip.config.registering import fields_before, former_names
from everychip.config.toml import content_hash, read_toml, write_toml
from everychip.errors import ConfigError, StoreError
from everychip.methods import Method
from everychip.statistics.outcome import read_status
from everychip.storage.files import DRAFT, digest, read_json, write_record, write_text
from everychip.storage.table import read_table
from everychip.study.records import CompleteRun

FORMAT = "everychip-run/1"
RECIPE, MODEL, DRAWS, RECORD = "recipe.toml", "model.safetensors", "draws.parquet", "run.json"
PARTIAL = "partial"
"""The folder inside a run folder where an unfinished run keeps what it has so far."""
WORDS_ONLY = ("title", "labels")
"""Keys of a recipe that name it, and change nothing of what is computed."""
AFTER_TRAINING = ("evaluation",)
"""Keys of a recipe that change nothing of its training."""


@dataclass(frozen=True)
class Run:
    """A complete run, read from its folder."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The hash of the resolved recipe."""
        return str(self.record["id"])

    @property
    def status(self) -> str:
        """How training ended: above_chance, at_chance or diverged."""
        return read_status(str(self.record["status"]))

    @property
    def draws_path(self) -> Path:
        """The parquet file of draws."""
        return self.folder / DRAWS

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe, as a table."""
        return read_toml(self.folder / RECIPE)

    def draws(self) -> dict[str, list[Any]]:
        """The draws, one list per column."""
        return read_table(self.draws_path)


def run_id(recipe: Mapping[str, Any]) -> str:
    """The identity of a resolved recipe: its content without title and labels.

    Of the weights that a training starts from, their content counts and not their place.

    >>> run_id({"seed": 0, "title": "one"}) == run_id({"seed": 0, "title": "another"})
    True
    """
    known = {key: value for key, value in recipe.items() if key not in WORDS_ONLY}
    if isinstance(known.get("start"), Mapping):
        known["start"] = known["start"].get("sha256")
    if isinstance(known.get("method"), Mapping):
        known["method"] = _as_before(known["method"])
    return content_hash(known)


def _as_before(method: Mapping[str, Any]) -> dict[str, Any]:
    """A method's table as runs of before have it: former names, and no later field that changes nothing."""
    kind = Method.of_kind(str(method.get("kind")))
    before, former = fields_before(kind), former_names(kind)
    return {
        former.get(key, key): value
        for key, value in method.items()
        if key not in before or value != before[key]
    }


def training_id(recipe: Mapping[str, Any]) -> str:
    """The identity of what a resolved recipe trains: the same for recipes that differ in evaluation only.

    >>> training_id({"seed": 0, "evaluation": {"chips": 9}}) == training_id({"seed": 0})
    True
    """
    return run_id({key: value for key, value in recipe.items() if key not in AFTER_TRAINING})


def claim(folder: Path, recipe: Mapping[str, Any]) -> str:
    """Make a folder the one of this recipe, or refuse it because something else lies there.

    An unfinished run's recipe is written anew, so that its title and labels are as they are requested now.
    Returns the SHA-256 of what was written, or "" for a complete run, which is left alone.
    """
    path = folder / RECIPE
    if path.exists():
        found, asked = run_id(_recipe_of(path)), run_id(recipe)
        if found != asked:
            raise StoreError(
                str(folder),
                found=f"the run {found}",
                expected=f"an empty folder or the run {asked}",
                remedy="choose another folder: --output DIR",
            )
        return "" if is_complete(folder) else write_text(path, write_toml(recipe))
    others = (child.name for child in folder.iterdir() if not child.match(f".*{DRAFT}"))
    if any(name != PARTIAL for name in others):
        raise StoreError(
            str(folder),
            found="files that are no run of everychip",
            expected="an empty folder or a run folder",
            remedy="choose another folder: --output DIR",
        )
    return write_text(path, write_toml(recipe))


def _recipe_of(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except ConfigError as error:
        raise StoreError(str(path), found=error.found, expected="the recipe of a run") from None


def finish(folder: Path, record: Mapping[str, Any], proofs: Mapping[str, str]) -> Run:
    """Write run.json over the finished files, with their SHA-256, and drop what was kept for resuming.

    proofs: the SHA-256 of recipe, weights and draws as they were written; what changed since is refused.
    """
    for name in (RECIPE, MODEL, DRAWS):
        if digest(folder / name) != proofs[name]:
            raise changed(folder / name)
    write_record(folder / RECORD, {"format": FORMAT, **record, "sha256": dict(proofs)})
    drop_partial(folder)
    return open_run(folder)


def changed(path: Path) -> StoreError:
    """The refusal of a file that is no longer as this very process wrote or read it."""
    return StoreError(
        str(path),
        found="content that changed while the run was computed",
        expected="the file as it was written",
        remedy="the same command makes it again",
    )


def drop_partial(folder: Path) -> None:
    """Remove what an unfinished run kept."""
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)


def drop_unbegun(folder: Path) -> None:
    """Remove recipe, weights and state of a run that computed nothing, and its folder if that is empty."""
    drop_partial(folder)
    for name in (RECIPE, MODEL):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # something else lies there
        folder.rmdir()


def is_complete(folder: Path) -> bool:
    """Whether a run was finished here."""
    return (folder / RECORD).exists()


def open_run(folder: Path) -> Run:
    """Read a complete run and prove that none of its files changed since."""
    if not folder.is_dir():
        raise StoreError(str(folder), found="no such folder", expected="a run folder")
    if not is_complete(folder):
        unfinished = (folder / RECIPE).exists()
        raise StoreError(
            str(folder),
            found="an unfinished run" if unfinished else "no run.json",
            expected="a complete run",
            remedy="run its recipe again, it goes on where it was" if unfinished else None,
        )
    record = _record(folder / RECORD)
    for name, expected in record["sha256"].items():
        path = folder / name
        if not path.exists():
            raise _damaged(path, "no such file")
        if digest(path) != expected:
            raise _damaged(path, "content that differs from its SHA-256 in run.json")
    return Run(folder, record)


def _record(path: Path) -> dict[str, Any]:
    """The record of a run, which names all of its files and no other."""
    record = read_json(path, form=FORMAT)
    CompleteRun.read(record, path=path, remedy=_again(path))
    return record


def _damaged(path: Path, found: str) -> StoreError:
    return StoreError(str(path), found=found, expected="the file as it was written", remedy=_again(path))


def _again(path: Path) -> str:
    return f"delete the folder {path.parent} and run the recipe again"
