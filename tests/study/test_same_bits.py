"""Nothing changes that should not: a run of each method, and a committed one, are made again to the bit.

The lines of families.json were written by the version before the last large change, with
`python tests/study/test_same_bits.py > tests/study/families.json`; a new method adds its own. Bits depend on
the instructions that sums are computed with and on PyTorch's version: elsewhere the test is skipped.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from everychip.config.toml import read_toml
from everychip.methods import Method
from everychip.study import store
from everychip.study.environment import environment, machine
from everychip.study.execution import run
from everychip.study.experiment import Experiment
from everychip.study.grid import Study

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BASE = {
    "data": {"kind": "digits", "size": 8},
    "model": {"kind": "mlp", "hidden": [16]},
    "hardware": {"device": {"kind": "gaussian", "sigma": 0.2}},
    "training": {"epochs": 1, "batch_size": 100, "validation_chips": 1},
    "evaluation": {"chips": 3, "sigma": [0.2]},
    "compute": {"threads": 1},
}
FIELDS = {"irs": {"hidden": 8}, "deep_supervision": {"hidden": 8}, "adversarial_weight": {"attack_steps": 2}}
COMMITTED = ("kept-scale", 2)
"""A study of short runs on embedded data, and how many of its shortest are made again."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def made(kind: str, folder: Path) -> dict[str, Any]:
    """The identity of a method's run, its losses, and the accuracy of every chip."""
    method = {"kind": kind, **FIELDS.get(kind, {})}
    done = run(Experiment.read({**BASE, "method": method}, where=kind), folder)
    draws = done.draws()
    history = [{key: row[key] for key in ("loss", "accuracy")} for row in done.record["history"]]
    return {
        "id": done.id,
        "history": history,
        "accuracy": draws["accuracy"],
        "nll": draws["nll"],
        "weights": done.record["sha256"][store.MODEL],
    }


def here() -> dict[str, str]:
    found = environment(Experiment.read({**BASE, "method": "vanilla"}, where="here").compute)
    return {"capability": str(found["capability"]), "torch": str(found["torch"]), "machine": machine(found)}


def must_be_of_here(then: dict[str, Any]) -> None:
    now = here()
    for key in ("capability", "torch"):
        if then.get(key) != now[key]:
            pytest.skip(f"results of {key} {then.get(key)!r}, not {now[key]!r}: their last bits may differ")


FAMILIES = json.loads((HERE / "families.json").read_text()) if (HERE / "families.json").exists() else {}
OWN = [kind for kind, one in Method.kinds().items() if one.__module__.startswith("everychip.")]


@pytest.mark.parametrize("kind", OWN)
def test_a_run_of_each_method_is_made_again_to_the_bit(kind, tmp_path):
    must_be_of_here(FAMILIES["environment"])
    assert made(kind, tmp_path) == FAMILIES["runs"][kind]


def test_committed_runs_are_made_again_to_the_bit(tmp_path):
    name, number = COMMITTED
    folder = ROOT / "results" / name
    record = json.loads((folder / "study.json").read_text())
    must_be_of_here(record["environment"])
    shortest = sorted(record["runs"], key=lambda one: one["seconds"])[:number]
    wanted = {one["id"] for one in shortest}
    study = Study.read(read_toml(folder / "study.toml"), where=name)
    for experiment in study.expand().experiments:
        if experiment.id in wanted:
            wanted.remove(experiment.id)
            done = run(experiment, tmp_path / experiment.id)
            assert rows(done.draws_path, done.id) == rows(folder / "draws.parquet", done.id)
    assert not wanted, "every committed run is one of the recipe as it is read today"


def rows(path: Path, of: str) -> list[tuple[Any, ...]]:
    import duckdb

    query = "select sigma, chip, accuracy, nll, confidence from read_parquet(?) where run = ? order by all"
    return duckdb.execute(query, [str(path), of]).fetchall()


if __name__ == "__main__":
    found = {}
    for kind in OWN:
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = made(kind, Path(folder))
    print(json.dumps({"environment": here(), "runs": found}, indent=1), file=sys.stdout)
