"""A bit flips in any file, at rest or while a command runs: refused or still right, never other numbers."""

from __future__ import annotations

import functools
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from faults.conftest import Job, proofs
from faults.forking import Done, Forking, flipped

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.name != "posix", reason="forks of POSIX"),
]
SQL = "select run, sigma, chip, accuracy, nll, ece from draws order by all"
MORE = int(os.environ.get("EVERYCHIP_FAULTS", "1"))
"""How many times as many faults are tried."""
IN_FLIGHT, AT_REST = 2 * MORE, MORE
OF_A_RUN = ("recipe.toml", "model.safetensors", "draws.parquet", "draws-0.*", "*.json", "checkpoint.*")
NAMES = {"run": OF_A_RUN, "study": (*OF_A_RUN, "study.*")}
UNTIL = {"checkpoint.*": 0.2, "draws-0.*": 0.5}
"""The share of a command's file events by which a file is surely there, and not yet gone again."""
TRIES = [(kind, name, seed) for kind in NAMES for name in NAMES[kind] for seed in range(IN_FLIGHT)]


def readers(folder: Path) -> list[Sequence[str]]:
    return [("sql", str(folder), SQL, "--csv"), ("report", str(folder), "--markdown")]


def numbers(done: Done) -> list[str]:
    """What a reader prints, without the seconds that a run took."""
    return [line for line in done.out.splitlines() if " s" not in line]


@functools.cache
def told(job: Job, forking: Forking) -> list[list[str]]:
    return [numbers(forking.run(*one)) for one in readers(job.whole)]


def refused_or_right(
    job: Job, folder: Path, forking: Forking, said: str, truth: list[list[str]], *, part: bool = False
) -> None:
    """Whoever reads the folder now, and whoever runs the command again, is refused or right."""
    for one, right in zip(readers(folder), truth, strict=True):
        done = forking.run(*one)
        assert done.refused or done.code == 0, f"{said} {one[0]}: {done.err}"
        rows = set(numbers(done)) <= set(right) or one[0] != "sql" if part else numbers(done) == right
        assert done.refused or rows, f"{said}: {one[0]} prints other numbers"
    again = forking.run(*job.into(folder))
    assert "Traceback" not in again.err, f"{said}: {again.err}"
    assert again.refused or again.code == 0 or "failed" in again.err, f"{said}: {again.err}"
    assert again.code != 0 or proofs(folder) == job.files, f"{said}: other files, and no word"


def files_of(job: Job) -> list[str]:
    return sorted(str(path.relative_to(job.whole)) for path in job.whole.rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", range(AT_REST))
@pytest.mark.parametrize("kind", ["run", "study"])
def test_a_flipped_bit_in_any_file_of_a_complete_folder(
    kind: str, seed: int, forking: Forking, a_run: Job, a_study: Job, tmp_path: Path
) -> None:
    job, chosen = {"run": a_run, "study": a_study}[kind], random.Random(seed)
    truth = told(job, forking)
    for number, name in enumerate(files_of(job)):
        folder = tmp_path / str(number)
        shutil.copytree(job.whole, folder)
        refused_or_right(job, folder, forking, flipped(folder / name, chosen), truth)


@pytest.mark.parametrize(("kind", "name", "seed"), TRIES)
def test_a_bit_that_flips_while_a_command_runs(
    kind: str, name: str, seed: int, forking: Forking, a_run: Job, a_study: Job, tmp_path: Path
) -> None:
    job, folder, chosen = {"run": a_run, "study": a_study}[kind], tmp_path / "out", random.Random(seed)
    at = chosen.randint(1, int(UNTIL.get(name, 0.9) * job.events))
    done = forking.run(*job.into(folder), watch=str(folder), flip_at=at, seed=seed, flip=name)
    assert "bit" in done.did, f"no {name} was there to be changed"
    assert "Traceback" not in done.err, f"{done.did}: {done.err}"
    assert done.refused or done.code in (0, 1), f"{done.did}: {done.err}"
    refused_or_right(job, folder, forking, done.did, told(job, forking), part=done.code == 1)
