"""Freed memory stays with the process that asks for it, and numbers stay what they are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from everychip import freed_memory

CODE = """
import resource, sys
import torch
from everychip.freed_memory import keep_freed_memory
done = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    x = torch.ones(4, 1024, 1024)
    for _ in range(10):
        x = (x * 1.0009765625).relu_()  # 16 MB each
        x = torch.cat([x, x, x])[:4] + 0  # and 48 MB
    return float(x.sum())
for _ in range(3):  # the heap may still grow once, by one block, while its holes find their places
    work()
before = faults()
print(done, work().hex(), faults() - before)
"""


def told(how: str, **environment: str) -> tuple[bool, str, int]:
    clean = {name: value for name, value in os.environ.items() if name not in freed_memory.OWN_CHOICE}
    command = [sys.executable, "-c", CODE, how]
    out = subprocess.run(
        command, env=clean | environment, check=True, capture_output=True, text=True, timeout=100
    )
    done, number, faults = out.stdout.split()
    return done == "True", number, int(faults)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives large blocks back so eagerly")
def test_what_is_freed_is_not_paged_in_again_and_no_number_changes() -> None:
    _, plain, many = told("leave")
    done, kept, few = told("keep")
    assert done
    assert few < many / 10, (few, many)
    assert kept == plain


@pytest.mark.parametrize("name", freed_memory.OWN_CHOICE)
def test_limits_that_the_environment_sets_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert not freed_memory.keep_freed_memory()


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not freed_memory.keep_freed_memory()


def test_the_command_and_the_workers_of_studies_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from everychip import cli
    from everychip.study.executors import processes

    calls: list[str] = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: calls.append("command"))
    monkeypatch.setattr(processes, "keep_freed_memory", lambda: calls.append("worker"))
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    monkeypatch.setattr(
        processes.threading, "Thread", lambda **_: type("T", (), {"start": lambda self: None})()
    )
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    processes._prepare(None)
    assert calls == ["command", "worker"]
