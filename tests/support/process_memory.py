"""How much memory this process holds right now."""

from __future__ import annotations

import os
from pathlib import Path


def resident() -> int:
    """Bytes in physical memory; from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
