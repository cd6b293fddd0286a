"""Folders that end the processes that read from them, for workers of a cluster.

A worker imports what it is handed: this module loads no more than the engine does.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from robustness.datasets import Entry
from robustness.datasets.folders import Folder


class DeadlyFolder(Folder):
    """A folder with an image that ends the first process to read it, and one that ends them all.

    Every process that reads from it leaves its number in ``notes``.
    """

    def __init__(self, path: Path, notes: Path, *, once: str, always: str) -> None:
        super().__init__(path)
        self.notes = notes
        self.once = once
        self.always = always

    def read(self, entry: Entry) -> bytes:
        (self.notes / f"process-{os.getpid()}").touch()
        if entry.name == self.once:
            with suppress(FileExistsError):
                (self.notes / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        if entry.name == self.always:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(entry)
