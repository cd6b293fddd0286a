"""Work of this program in a process of its own: what it is started as, and who is still there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import robustness

_LOWEST = 19
_PR_SET_PDEATHSIG = 1  # prctl(2): the signal to be sent when the parent dies


def start(
    arguments: Sequence[str], *, errors: IO[bytes] | int = subprocess.DEVNULL, leads: bool = False
) -> subprocess.Popen[bytes]:
    """Starts the command line with ``arguments``: by this Python, in this working folder.

    What it prints goes nowhere, what it says on stderr to ``errors``. One that ``leads`` is not
    reached by signals to our terminal, such as Ctrl-C, and may outlive us.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "robustness", *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=leads,
    )


def environment() -> dict[str, str]:
    """That of this process, in which another finds this program wherever it is started."""
    root = str(Path(robustness.__file__).parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def step_back() -> None:
    """Has this process and all threads that it will start work only where nobody else wants to.

    Linux' idle class lets any other process go first at once; elsewhere it is the lowest priority.
    Should whoever started this process stop it (SIGSTOP) and die, Linux has it go on.
    """
    with contextlib.suppress(OSError):
        os.nice(_LOWEST)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)


def heed_termination() -> None:
    """Has SIGTERM end this process as Ctrl-C does: what is under way is put in order first.

    A second one changes nothing: it would come while that is done.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGTERM, once)


@dataclass(frozen=True)
class Identity:
    """Which process, of all that there are and have been: ``since`` tells those of one id apart."""

    host: str
    pid: int
    since: str

    @classmethod
    def own(cls) -> Identity:
        """That of the process that asks."""
        return cls(socket.gethostname(), os.getpid(), _since(os.getpid()))

    @property
    def here(self) -> bool:
        """Whether it is or was a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether a process of this machine still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            pass
        return _since(self.pid) == self.since


def _since(pid: int) -> str:
    """When the process began, as Linux tells it; "" elsewhere, and of a process that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
