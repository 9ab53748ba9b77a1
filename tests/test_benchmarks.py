"""The benchmarks run to the end, with every peer that is here; nothing is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "benchmarks"
STEPS = {"step", *(f"step: {kind}" for kind in ("noise injection", "IRS", "OVF", "resilient", "multi-exit"))}
CHIPS = {
    "chip",
    "chip, compiled",
    "chip, compiled, bfloat16",
    "array chip",
    "array chip, 4 slices",
    "programming",
}


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("network", ["mlp"])
def test_side_by_side_runs_every_work_of_every_peer(network: str, tmp_path: Path) -> None:
    script, file = str(ROOT / "side_by_side" / "run.py"), tmp_path / "result.json"
    done = ran(script, network, "--rounds", "1", "--tiny", "--json", str(file))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(file.read_text())
    works: dict[str, set[str]] = {}
    for row in found["rows"]:
        works.setdefault(row["peer"], set()).add(row["work"])
        assert row["seconds"] > 0
        assert row["start_up"] > 0
    assert works["everychip"] >= STEPS | CHIPS
    assert works["plain"] == {"step", "chip", "chip, compiled"}
    here = {name for name, package in (("aihwkit", "aihwkit"), ("aihwkit-lightning", "aihwkit_lightning"))
            if find_spec(package)}  # fmt: skip
    assert set(works) == {"plain", "everychip", "published loop"} | here
    assert {row["peer"] for row in found["missing"]} == {"aihwkit", "aihwkit-lightning"} - here
    peaks = {row["work"] for row in found["rows"] if row["peak_mib"]}
    assert peaks >= {"step", "step: noise injection", "chip"}


def test_a_trial_does_not_overwrite_the_committed_result() -> None:
    done = ran(str(ROOT / "side_by_side" / "run.py"), "mlp", "--tiny")
    assert done.returncode == 2
    assert "name another file" in done.stderr


@pytest.mark.slow
def test_the_price_of_a_count_is_measured_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "counted.json"
    done = ran(str(ROOT / "counted.py"), "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr[-2000:]
    found, committed = json.loads(file.read_text()), json.loads((ROOT / "counted.json").read_text())
    assert set(found["networks"]) == set(committed["networks"])
    for row in (*found["networks"].values(), *committed["networks"].values()):
        assert set(row) == {
            f"{who}, {what}" for who in ("compared", "torchmetrics") for what in ("ms", "µs alone")
        }
        assert all(value > 0 for value in row.values())
