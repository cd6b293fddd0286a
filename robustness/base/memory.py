"""How much freed memory stays with this process: settings of glibc's allocator and of Arrow's.

Those of glibc are no-ops where another library stands in for it.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_TRIM_BYTES = 16 * 2**20
"""Bytes: twice what perturbing and comparing one image allocates."""

_MMAP_BYTES = 4 * 2**20
"""Bytes: six study images in one array. Larger blocks return to the system at once."""

_setting = threading.Lock()
_is_everything_kept = False


def keep_arrays() -> None:
    """Keep freed arrays for the next ones, up to ``_TRIM_BYTES`` bytes per heap.

    By default the memory returns to the system, which clears every page before reuse; that took
    longer than the computation. Measured: perturbing and comparing one 224 x 224 image takes 5 to
    6 ms instead of 10.
    """
    with _setting:
        if not _is_everything_kept:  # which is more
            _set({_M_MMAP_THRESHOLD: _MMAP_BYTES, _M_TRIM_THRESHOLD: _TRIM_BYTES})


def keep_everything() -> bool:
    """Keep all freed memory in one heap until ``give_back``; return whether that worked."""
    global _is_everything_kept
    with _setting:
        _is_everything_kept = True
        _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1})
    return _glibc() is not None


def share_with_arrow() -> None:
    """Let Arrow take its memory from the system's allocator.

    Its own keeps a heap for each thread. Measured on a run of 1.9 million rows: a comparison peaks
    at 430 MB instead of 480, a server that ten visitors open it on at 520 MB instead of 565.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:  # it read the variable when it was imported
        arrow.set_memory_pool(arrow.system_memory_pool())


def give_back() -> None:
    """Return kept memory to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    library = _glibc()
    if library is not None:
        for option, value in options.items():
            library.mallopt(option, value)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None

    import ctypes  # late: the help of the command line sets nothing

    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):  # another library, such as musl
        return None
    return library
