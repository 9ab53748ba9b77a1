"""Ctrl-C, and worse: one line, exit code 130, no worker left behind, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from everychip.storage.table import read_table
from everychip.study.store import open_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),  # they wait for what a busy machine does late
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]

LONG = ("--set", "training.epochs=100000")
MANY = (
    "--set",
    "training.epochs=1",
    "--set",
    "evaluation.chips=100000",
    "--set",
    "evaluation.sigma=[0.0,0.2]",
)


def _heard() -> None:
    """A shell's background jobs, and so their tests, do not hear Ctrl-C; what a terminal starts does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, as a terminal would start it; nothing of it survives."""
    command = [sys.executable, "-m", "everychip", *arguments]
    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, preexec_fn=_heard, **options) as process:  # noqa: PLW1509 - no threads here
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "it did not happen in time"
        time.sleep(0.01)


def alive(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def nothing_half_written(folder: Path) -> bool:
    """Whether no draft is left and every table and every complete run can be read."""
    for path in folder.rglob("*.parquet"):
        assert read_table(path)["chip"]
    for record in folder.rglob("run.json"):
        open_run(record.parent)
    return not list(folder.rglob("*.part"))


def test_ctrl_c_in_monte_carlo_is_one_line_and_130(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started("run", "digits", *MANY, "--output", str(folder)) as process:
        wait_for(lambda: list(folder.glob("partial/draws-0*")))
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in err
    assert not (folder / "run.json").exists()
    assert nothing_half_written(folder)


def test_ctrl_c_in_training_ends_a_study_and_its_workers_at_once(tmp_path: Path) -> None:
    with started("study", "demo", *LONG, "--workers", "2", "--output", str(tmp_path)) as process:
        wait_for(lambda: len(list(tmp_path.glob("runs/*/partial/checkpoint*"))) == 2)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process of the group
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in err
    wait_for(lambda: not alive(process.pid), 60)
    assert nothing_half_written(tmp_path)


def test_the_workers_of_a_killed_study_do_not_outlive_it(tmp_path: Path) -> None:
    with started("study", "demo", *LONG, "--workers", "2", "--output", str(tmp_path)) as process:
        wait_for(lambda: len(list(tmp_path.glob("runs/*/partial/checkpoint*"))) == 2)
        process.kill()
        process.wait()
        wait_for(lambda: not alive(process.pid), 60)


def test_a_reader_that_leaves_early_is_no_mistake(tmp_path: Path) -> None:
    command = f"{sys.executable} -m everychip methods | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
