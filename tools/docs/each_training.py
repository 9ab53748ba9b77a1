"""Measure each complete training of a study once, and keep what was found by σ and seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from everychip.storage.files import write_text
from everychip.study import store


def measure_each(
    study: Path, wanted: Mapping[str, str], target: Path, measure: Callable[[Path], Any]
) -> None:
    """Measure the complete runs with these labels; what the target holds already is not measured again."""
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    for folder in sorted((study / "runs").iterdir()):
        if not store.is_complete(folder):
            continue
        labels = store.open_run(folder).record["labels"]
        at = known.setdefault(labels.get("sigma_train", ""), {})
        if labels.items() >= wanted.items() and labels["seed"] not in at:
            at[labels["seed"]] = measure(folder)
            write_text(target, json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(f"σ {labels['sigma_train']}, seed {labels['seed']}: done")
