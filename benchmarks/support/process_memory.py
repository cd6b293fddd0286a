"""How much memory this process holds, right now and at its peak."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def resident() -> int:
    """Bytes in physical memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def growing_at_most(megabytes: int) -> Iterator[None]:
    """Fails where what is done within takes more memory at any moment, whoever allocates it."""
    Path("/proc/self/clear_refs").write_text("5")  # which has the peak begin anew
    before = _peak()
    yield
    grown = (_peak() - before) / 1e6
    assert grown <= megabytes, f"{grown:.0f} MB"


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(found) * 1024
