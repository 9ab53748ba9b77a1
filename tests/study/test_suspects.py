"""A worker that kills itself takes no other run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from everychip.study.study import DRAWS, run_study

DIES = """
import multiprocessing, os, threading, time, torch

def suicide():
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=lambda: (time.sleep(0.3), os.kill(os.getpid(), 9)), daemon=True).start()
        time.sleep(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""

DIES_ONCE = """
import multiprocessing, os, pathlib, torch

def fragile():
    died = pathlib.Path(__file__).with_name("died")
    if multiprocessing.parent_process() is not None and not died.exists():
        died.touch()
        os.kill(os.getpid(), 9)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_draw_and_doubles_none(
    tmp_path: Path, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies_once.py").write_text(DIES_ONCE)
    monkeypatch.chdir(tmp_path)
    fragile = {"model": {"kind": "factory", "call": "dies_once:fragile"}, "method": "vanilla"}
    chosen = study({"axes": {"method": {"vanilla": fragile, "irs": {"method": "noise_injection"}}}})
    run_study(chosen, tmp_path / "serial")
    outcome = run_study(chosen, tmp_path / "out", workers=2)
    assert (tmp_path / "died").exists()
    assert dict(outcome.failed) == {}
    assert (tmp_path / "out" / DRAWS).read_bytes() == (tmp_path / "serial" / DRAWS).read_bytes()


@pytest.mark.slow
def test_a_run_that_kills_its_worker_twice_fails_and_the_innocent_one_beside_it_does_not(
    tmp_path: Path, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies_twice.py").write_text(DIES)
    monkeypatch.chdir(tmp_path)
    axes = {
        "method": {
            "vanilla": {"model": {"kind": "factory", "call": "dies_twice:suicide"}, "method": "vanilla"},
            "irs": {"method": {"kind": "irs", "hidden": 8}, "training": {"epochs": 40}},
        }
    }
    outcome = run_study(study({"axes": axes, "sweep": {"seed": [0]}}), tmp_path / "out", workers=2)
    labels = {experiment.id: experiment.labels["method"] for experiment in outcome.grid.experiments}
    assert {labels[run]: words for run, words in outcome.failed.items()} == {
        "vanilla": "its worker process died twice (out of memory?)"
    }
