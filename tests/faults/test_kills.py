"""Killed, refused, or on a full disk: the same command goes on from there, and the numbers are the same."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from faults.conftest import Job, proofs
from faults.forking import Done, Forking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.name != "posix", reason="forks and signals of POSIX"),
]
KILLS, IN_A_ROW = 50, 5
WORKING = (0.3, 0.6)
"""Shares of a command's file events at which it certainly holds its folder."""


def as_without_a_fault(job: Job, folder: Path, done: Done) -> None:
    """The command ended well, its draws and weights are those without a fault, nothing else is left."""
    assert done.code == 0, f"{done.did}: {done.err}"
    assert proofs(folder) == job.files
    left = [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.name == "partial"]
    assert left == []


@pytest.mark.parametrize("chain", range(KILLS // IN_A_ROW))
def test_killed_at_random_file_events_again_and_again_it_goes_on_to_the_same_bits(
    chain: int, forking: Forking, a_run: Job, a_study: Job, tmp_path: Path
) -> None:
    job, chosen = (a_run, a_study)[chain % 2], random.Random(chain)
    kills = folders = 0
    while kills < IN_A_ROW:
        folders += 1
        folder = tmp_path / str(folders)
        killed = True
        while killed and kills < IN_A_ROW:
            at = chosen.randint(1, job.events)
            done = forking.run(*job.into(folder), watch=str(folder), kill_at=at)
            killed = done.code == -9
            kills += killed
        as_without_a_fault(job, folder, forking.run(*job.into(folder)))


@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_killed_study_that_is_moved_to_another_processor_goes_on_and_says_so(
    place: float, forking: Forking, a_study: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one computes with other instructions: a process of PyTorch's without AVX."""
    here, there = tmp_path / "here", tmp_path / "there"
    killed = forking.run(*a_study.into(here), watch=str(here), kill_at=int(place * a_study.events))
    assert killed.code == -9
    here.rename(there)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    other = Forking()
    try:
        done = other.run(*a_study.into(there))
        rows = "select run, sigma, chip from draws order by all"
        same = [other.run("sql", str(folder), rows, "--csv") for folder in (a_study.whole, there)]
    finally:
        other.close()
    assert done.code == 0, done.err
    assert "Computed on 2 processors, whose last bits may differ" in done.err + done.out
    assert same[0].out == same[1].out, "no draw lost, none double"
    assert len(same[0].out.splitlines()) == 1 + 2 * 2 * 2


@pytest.mark.parametrize("place", [0.02, *WORKING, 0.95])
@pytest.mark.parametrize("kind", ["run", "study"])
def test_a_second_process_at_any_time_is_refused_and_the_first_goes_on(
    kind: str, place: float, forking: Forking, a_run: Job, a_study: Job, tmp_path: Path
) -> None:
    job, folder = {"run": a_run, "study": a_study}[kind], tmp_path / "out"
    at = 1 + int(place * job.events)
    done = forking.run(*job.into(folder), watch=str(folder), pause_at=at)
    second = Done(**done.second)
    as_without_a_fault(job, folder, done)
    # Before the first one holds the folder, and after it, there is nobody to be refused by.
    if place in WORKING or second.code != 0:
        assert second.refused, second.err
        assert "another process is writing here" in second.err


@pytest.mark.parametrize("place", [0.0, 0.25, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("kind", ["run", "study"])
def test_on_a_disk_that_fills_up_at_any_time_it_is_refused_and_goes_on_when_there_is_room(
    kind: str, place: float, forking: Forking, a_run: Job, a_study: Job, tmp_path: Path
) -> None:
    job, folder = {"run": a_run, "study": a_study}[kind], tmp_path / "out"
    full = forking.run(*job.into(folder), watch=str(folder), full_at=1 + int(place * job.events))
    no_traceback_without_room(full)
    as_without_a_fault(job, folder, forking.run(*job.into(folder)))


@pytest.mark.parametrize("largest", [100, 1400, 2900, 4000])
@pytest.mark.parametrize("kind", ["run", "study"])
def test_a_file_that_cannot_grow_is_refused_and_the_run_goes_on_when_it_can(
    kind: str, largest: int, forking: Forking, a_run: Job, a_study: Job, tmp_path: Path
) -> None:
    """Written by safetensors, the checkpoint first, whose writes are none of Python's file events."""
    job, folder = {"run": a_run, "study": a_study}[kind], tmp_path / "out"
    no_traceback_without_room(forking.run(*job.into(folder), largest=largest))
    as_without_a_fault(job, folder, forking.run(*job.into(folder)))


@pytest.mark.parametrize("largest", [100, 1400, 2900])
def test_draws_that_cannot_be_written_are_refused_and_the_run_goes_on_when_they_can(
    largest: int, forking: Forking, a_run: Job, tmp_path: Path
) -> None:
    """Killed once it is trained: what is left to write is DuckDB's, and JSON."""
    folder, at = tmp_path / "out", a_run.events
    while not (folder / "partial" / "state.json").exists():
        forking.run(*a_run.into(folder), watch=str(folder), kill_at=round(0.36 * at))
    assert not list(folder.rglob("draws-*.parquet"))
    full = forking.run(*a_run.into(folder), largest=largest)
    no_traceback_without_room(full)
    assert "checkpoint" not in full.err, "the training is done"
    as_without_a_fault(a_run, folder, forking.run(*a_run.into(folder)))


def no_traceback_without_room(done: Done) -> None:
    """Refused in one line, or a study that names the runs which there are not."""
    assert "Traceback" not in done.err
    assert done.refused or done.code == 1, f"nothing was refused: {done.err}"
    assert done.code != 1 or "failed" in done.err, done.err
