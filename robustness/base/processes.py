"""How background processes of this program start, yield, end and are identified."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import robustness

_LOWEST = 19
_PR_SET_PDEATHSIG = 1  # prctl(2): the signal to be sent when the parent dies

_HARMLESS = (
    "PATH",
    "HOME",
    "USERPROFILE",
    "SYSTEMROOT",
    "LOCALAPPDATA",
    "TMPDIR",
    "TEMP",
    "TMP",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "KERAS_HOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
)
"""Variables for any program: places, languages and processors, but no settings and no keys."""


def start(
    arguments: Sequence[str], *, errors: IO[bytes], inherits: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Start the command line with ``arguments``, with this Python in this working folder.

    Its stderr goes to ``errors``; it has the descriptors ``inherits``, too. It gets no signals from
    our terminal, such as Ctrl-C, and may outlive us.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "robustness", *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
        pass_fds=inherits,
    )


def environment() -> dict[str, str]:
    """Return the environment of this process, extended so that a child can import this program."""
    root = str(Path(robustness.__file__).parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def small_environment() -> dict[str, str]:
    """Return the few variables of ``environment`` that every program may see.

    For a process that reads what others wrote: settings and keys are not for it.
    """
    whole = environment()
    return {name: whole[name] for name in _HARMLESS if name in whole}


def set_idle_priority() -> None:
    """Give this process and its future threads idle CPU priority.

    On Linux that is the idle scheduling class, elsewhere the lowest priority. If the parent
    suspends this process (SIGSTOP) and dies, Linux resumes it.
    """
    with contextlib.suppress(OSError):
        os.nice(_LOWEST)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if sys.platform == "linux":
        import ctypes  # late: few processes need it

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)


def heed_termination() -> None:
    """Handle SIGTERM like Ctrl-C, so that work in progress is cleaned up first.

    Further SIGTERMs are ignored: they would interrupt the clean-up.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGTERM, once)


@dataclass(frozen=True)
class Identity:
    """A process, past or present; ``since`` distinguishes processes that reuse an id."""

    host: str
    pid: int
    since: str

    @classmethod
    def own(cls) -> Identity:
        """The calling process."""
        return cls(socket.gethostname(), os.getpid(), _since(os.getpid()))

    @property
    def here(self) -> bool:
        """Whether the process belongs to this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process, of this machine, still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            pass
        return _since(self.pid) == self.since


def _since(pid: int) -> str:
    """Start time of the process as Linux reports it; "" elsewhere or after its end."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state = fields[0]
    if state == "Z":  # a zombie has ended
        return ""
    return fields[19]
