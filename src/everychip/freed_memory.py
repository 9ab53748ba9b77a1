"""Memory that is freed stays with the process: a large activation is then not paged in anew each time."""

from __future__ import annotations

import os
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""glibc's numbers of the two limits (malloc.h)."""
LARGEST = 2**30
"""Blocks of a GiB and more are still given back at once."""
OWN_CHOICE = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Ask glibc's allocator to keep what is freed, for this process and for good; no number changes.

    As it comes, glibc gives large blocks back to the system, which clears their pages when they are taken
    again: a good part of a pass over many images on a CPU (`benchmarks/freed_memory.py`). The `everychip`
    command and the workers of studies call this; a script of your own may.

    Returns:
        Whether it was done: not where the C library is another one, nor where the environment has limits of
        its own.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if sys.platform != "linux" or any(name in os.environ for name in OWN_CHOICE):
        return False
    import ctypes

    limit = getattr(ctypes.CDLL(None), "mallopt", None)
    if limit is None:  # another C library
        return False
    return bool(limit(MMAP_THRESHOLD, LARGEST)) and bool(limit(TRIM_THRESHOLD, 2**31 - 1))
