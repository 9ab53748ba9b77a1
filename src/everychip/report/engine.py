"""Whether the engine that draws charts (V8, in vl-convert) can start: else it ends the process."""

from __future__ import annotations

import functools
import subprocess
import sys

from everychip.errors import StoreError

WORDS = "an address-space limit (ulimit -v) in which the engine that draws charts cannot start"
_PROBE = "import vl_convert; vl_convert.javascript_bundle()"


@functools.cache
def starts() -> bool:
    """Whether charts can be drawn; tried out in a process of its own where the address space is limited."""
    try:
        import resource
    except ImportError:  # Windows limits no address space
        return True
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return True
    try:
        tried = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def must_start() -> None:
    """Raise where no chart can be drawn."""
    if not starts():
        raise StoreError("charts", found=WORDS, remedy="raise the limit")
