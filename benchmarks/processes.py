"""The processes of a server that runs beside, and the memory that they hold; from Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def serving(address: str) -> int:
    """The process that serves ``address``, which is one below this."""
    port = f"--server.port={address.rpartition(':')[2]}"
    for pid in below(os.getpid()):
        if port in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise RuntimeError("the server is gone")


def below(process: int) -> list[int]:
    """All processes that ``process`` has started, those that they have started, and so on."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found = []
    new = [process]
    while new:
        new = [child for parent in new for child in parents.get(parent, [])]
        found += new
    return found


def held_by(process: int) -> int:
    """Bytes that ``process`` and all below it hold of physical memory, shared ones once."""
    total = 0
    for pid in [process, *below(process)]:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
    return total
