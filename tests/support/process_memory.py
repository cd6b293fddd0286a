"""How much memory a process holds right now."""

from __future__ import annotations

import os
from pathlib import Path


def resident(process: str = "self") -> int:
    """Bytes in physical memory of this process or another; from Linux's /proc."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
