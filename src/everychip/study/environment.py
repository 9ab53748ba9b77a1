"""Where a number was made: versions, commit, machine, threads."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from everychip.study.compute import Compute


def environment(compute: Compute) -> dict[str, Any]:
    """What is needed to judge, and to make again, a number: no host name, no user, no path.

    >>> sorted(environment(Compute()))  # doctest: +NORMALIZE_WHITESPACE
    ['commit', 'cores', 'everychip', 'numpy', 'platform', 'processor', 'python', 'threads', 'torch']
    """
    return {
        "everychip": _version("everychip"),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": compute.threads,
        **({"gpu": _gpu()} if compute.gpu else {}),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


@functools.cache
def commit() -> str:
    """The commit of this code, with `+changes` where files differ from it; empty outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        found = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=5, check=True
        )
        return found.stdout.strip()

    try:
        # A virtual environment may lie in somebody else's checkout: ask whether git knows this file.
        git("ls-files", "--error-unmatch", "environment.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "-s", "..") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


@functools.cache
def processor() -> str:
    """The processor's own name where the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
