"""Where TensorFlow takes its memory from, such that it can be given back to the system."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def use_returnable_memory() -> None:
    """Has TensorFlow take its memory where it can be given back; to be called before it starts.

    Its own pool for oneDNN never shrinks: after VGG16 was released, 1.6 GB stayed. The system's
    allocator returns it, but by default maps and unmaps every large activation, which made a pass
    up to three times as slow; kept in one heap until ``give_back``, it is as fast as the pool.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):  # glibc, not musl
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Returns to the system what is no longer used: models released, buffers of loading."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
