"""One training for all runs that differ in their evaluation only: its weights go from folder to folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everychip.config.toml import read_toml
from everychip.errors import ConfigError, StoreError
from everychip.storage.files import digest, read_json, write_whole
from everychip.study import store
from everychip.study.unfinished import WEIGHTS

OF_TRAINING = ("status", "words", "best_epoch", "validation_accuracy", "forwards", "history")
"""What a run's record says of its training."""


def trainings(runs: Path) -> dict[str, Path]:
    """The complete runs of a folder of run folders, one for each training, by the training's id."""
    found: dict[str, Path] = {}
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        if store.is_complete(folder):
            try:
                found.setdefault(store.training_id(read_toml(folder / store.RECIPE)), folder)
            except ConfigError:  # a folder that cannot be read gives nothing
                continue
    return found


def take_over(
    training: str, source: Path, folder: Path, *, inputs: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Put the weights of a complete run into `folder` and return what its record says of their training.

    None where `source` holds no such training, not as it was written, or one of other data or code than
    `inputs`: then there is nothing to share.
    """
    try:
        record = read_json(source / store.RECORD, form=store.FORMAT)
        if store.training_id(read_toml(source / store.RECIPE)) != training:
            return None
        if record.get("inputs", inputs) != inputs:
            return None
        write_whole(folder / store.MODEL, lambda draft: _same_file(source / store.MODEL, draft))
        if digest(folder / store.MODEL) != record["sha256"][store.MODEL]:
            return None
        return {
            **{key: record[key] for key in OF_TRAINING},
            **({"learned": record["learned"]} if "learned" in record else {}),
            WEIGHTS: record["sha256"][store.MODEL],
            "trained_by": record.get("trained_by") or record["id"],
            "training_environment": record.get("training_environment") or record["environment"],
        }
    except (StoreError, ConfigError, KeyError, OSError):
        return None


def _same_file(source: Path, target: Path) -> None:
    """A second name for a file, or its copy where the file system has no such names.

    No file of a run is ever written into, only replaced, so one run never changes another's.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
