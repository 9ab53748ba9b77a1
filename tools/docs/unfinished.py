"""Collect the complete runs of studies that ask for more: `python tools/docs/unfinished.py FOLDER ...`.

For each study's folder it writes results/unfinished/NAME.parquet, the draws of all complete runs with their
labels, and NAME.json, what became of each training: status, validation, history.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from everychip.storage.files import write_text
from everychip.storage.table import merge_tables
from everychip.study import store

TARGET = Path(__file__).parents[2] / "results" / "unfinished"
KEPT = ("id", "labels", "status", "best_epoch", "validation_accuracy", "seconds_by_stage", "history")


def collect(folder: Path) -> int:
    """Write what the complete runs of a study hold; how many there are."""
    runs = [run for run in sorted((folder / "runs").iterdir()) if store.is_complete(run)]
    opened = [store.open_run(run) for run in runs]
    if not opened:
        return 0
    TARGET.mkdir(parents=True, exist_ok=True)
    merge_tables(TARGET / f"{folder.name}.parquet", [run.draws_path for run in opened])
    told = [{key: run.record.get(key) for key in KEPT} for run in opened]
    told.sort(key=lambda one: json.dumps(one["labels"], sort_keys=True))
    environment = opened[0].record.get("environment")
    write_text(
        TARGET / f"{folder.name}.json",
        json.dumps({"environment": environment, "runs": told}, indent=1) + "\n",
    )
    return len(opened)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: {collect(Path(name))} complete runs")
