"""Where a number was made: versions, commit, machine, threads."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from everychip.study.compute import Compute


def environment(compute: Compute) -> dict[str, Any]:
    """What is needed to judge, and to make again, a number: no host name, no user, no path.

    >>> sorted(environment(Compute()))  # doctest: +NORMALIZE_WHITESPACE
    ['capability', 'commit', 'cores', 'everychip', 'numpy', 'platform', 'processor', 'python',
     'threads', 'torch']
    """
    return {
        "everychip": _version("everychip"),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "capability": capability(),
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


SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that choose other instructions than the processor has, and so other last bits."""
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile")


@functools.cache
def capability() -> str:
    """The instructions that sums are computed with: PyTorch's own, the processor's, and what narrows them."""
    import torch

    flags = [flag for flag in _FLAGS if flag in _cpuinfo("flags").split()]
    switches = [f"{name}={os.environ[name]}" for name in SWITCHES if os.environ.get(name)]
    known = [torch.backends.cpu.get_cpu_capability(), " ".join(flags), *switches]
    return ", ".join(filter(None, known))


def machine(environment: Mapping[str, Any]) -> str:
    """What an environment says of the last bits: the processor and its instructions, or the GPU.

    >>> machine({"processor": "Xeon", "capability": "AVX2", "cores": 8})
    'Xeon (AVX2)'
    """
    known = str(environment.get("capability") or "")
    name = str(environment.get("gpu") or environment.get("processor") or "")
    return f"{name} ({known})" if known else name


def distinct(machines: Iterable[str]) -> list[str]:
    """The different machines, in order; one whose instructions are not known counts as any of its name.

    >>> distinct(["Xeon", "Xeon (AVX2)", "EPYC (AVX2)", "Xeon (AVX2)"])
    ['Xeon (AVX2)', 'EPYC (AVX2)']
    """
    every = [name for name in dict.fromkeys(machines) if name]
    return [name for name in every if not any(other.startswith(f"{name} (") for other in every)]


@functools.cache
def processor() -> str:
    """The processor's own name where the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""
