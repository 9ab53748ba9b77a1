"""Draws as one parquet file: a row per chip, and what they were drawn for in the file's metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from everychip.errors import EverychipError, StoreError
from everychip.evaluation.draws import Draws
from everychip.scores import ACCURACY, Score
from everychip.statistics.stopping import Until
from everychip.storage.table import metadata_of, read_table, write_table

FORMAT, KEY, SEAL = "everychip-draws/1", "everychip", "sha256"
_EXPECTED = "draws that Draws.save wrote"


def save(draws: Draws, path: str | Path) -> None:
    """Write draws whole, with purpose, treatment, stopping rule and the SHA-256 of it all.

    >>> import tempfile
    >>> from everychip.statistics.verdict import verdict
    >>> row = {"accuracy": 0.9, "nll": 0.3, "brier": 0.1, "ece": 0.02, "confidence": 0.9}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Draws.of([row, row], seed=3, images=360), f"{folder}/draws.parquet")
    ...     load(f"{folder}/draws.parquet")
    Draws(2 chips, mean accuracy 90.0 %, seed 3, 360 images)
    """
    columns = draws.columns()
    about = {
        "format": FORMAT,
        "purpose": draws.purpose,
        "until": None if draws.until is None else asdict(draws.until),
        "treatment": [dict(facts) for facts in draws.treatment],
        "cells": draws.cells,
        **({} if draws.score == ACCURACY else {"score": draws.score.facts()}),
    }
    text = json.dumps({**about, SEAL: _seal(columns, about)})
    write_table(Path(path), columns, metadata={KEY: text})


def load(path: str | Path) -> Draws:
    """The draws of a file that `save` wrote; another file, or a changed one, is refused."""
    place = Path(path)
    columns = read_table(place)
    about = _about(place)
    try:
        seal, until = about.pop(SEAL), about["until"]
        if seal != _seal(columns, about):
            raise StoreError(str(path), found="content that differs from its own SHA-256", expected=_EXPECTED)
        scores = [name for name in columns if name not in ("chip", "seed", "images", "whole_test")]
        return Draws(
            scores={name: torch.tensor(columns[name], dtype=torch.float64) for name in scores},
            chip=torch.tensor(columns["chip"]),
            **{name: columns[name][0] for name in ("seed", "images", "whole_test")},
            purpose=about["purpose"],
            until=None if until is None else Until(**until),
            treatment=tuple(about["treatment"]),
            cells=None if about["cells"] is None else tuple(about["cells"]),
            score=Score.of(about.get("score")),
        )
    except EverychipError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(str(path), found=f"a damaged file ({error!r})", expected=_EXPECTED) from None


def _about(path: Path) -> dict[str, Any]:
    """What the metadata of a file say of its draws."""
    try:
        about = json.loads(metadata_of(path).get(KEY, "null"))
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StoreError(str(path), found="a parquet file of something else", expected=_EXPECTED)
    return about


def _seal(columns: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """SHA-256 of rows and description; floats are written so that they can be read back to the bit."""
    return hashlib.sha256(json.dumps([columns, about], sort_keys=True).encode()).hexdigest()
