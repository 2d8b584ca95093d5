"""How this process takes memory: large blocks are kept and used again, or given back."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

# Parameters of glibc's `mallopt` (malloc.h).
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8

MIB: Final = 2**20


def give_back() -> bool:
    """Give what is free in this process back to the system, a few ms.

    Every thread of a server keeps what its largest moment took. To be called after such a moment, not within: memory
    that is taken anew costs time.

    Returns:
        Whether anything was given back; never on systems without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except AttributeError:  # another C library
        return False


def keep_freed_memory(mib: int = 512) -> bool:
    """Keep up to `mib` MiB of freed memory for the next tensors instead of giving them back to the system.

    Networks on 3-D maps take and free blocks of tens of MiB thousands of times. By default glibc maps each of them
    anew, and the system fills it with zeros page by page: up to a third of the time of a training step. One arena for
    all threads: each would keep memory of its own.

    To be called once, before other threads start: for commands, not for the app, whose server has threads before our
    code runs (tried: more memory, nothing gained). Changes nothing on systems without glibc.

    Returns:
        Whether it could be set.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    wanted = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: mib * MIB, _TOP_PAD: 64 * MIB}
    return all([mallopt(name, value) == 1 for name, value in wanted.items()])
