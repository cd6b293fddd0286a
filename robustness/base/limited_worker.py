"""Work on untrusted bytes in processes of its own, with limits on their memory and time.

``Worker`` is this end of a connection, and ``serve`` the other, in the process that it starts. A
process ends with whoever started it, however that ends. Where the system limits no memory (macOS),
only the limits on time hold.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from robustness.base.own_process import environment

_ASKED = struct.Struct("<QQQQ")  # bytes of the head and of the data, of memory, seconds of work
_ANSWERED = struct.Struct("<Q")

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # nothing is multiplied, and each thread takes memory
    # What is large goes back to the system at once, what is small is there for the next.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
}

Answer = Callable[[bytes, bytes], bytes]
"""What a process does: gives an answer to a head and data."""


class WorkerDiedError(Exception):
    """The process ended before it had answered."""


class WorkerTimeError(Exception):
    """The process has worked on it for longer than it may."""


class WorkerLateError(Exception):
    """No process was free, or none had answered, by the deadline."""


class Worker:
    """A process that runs the module ``module``, which calls ``serve``."""

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**environment(), **_ENVIRONMENT},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ask(
        self, head: bytes, data: bytes, *, memory: int, seconds: int, deadline: float | None
    ) -> bytes:
        """The answer to ``head`` and ``data``.

        It may take ``memory`` bytes beside these, ``seconds`` of work, and until ``deadline``
        (of ``time.monotonic``; None for ever). Raises ``WorkerTimeError``, ``WorkerLateError`` or
        ``WorkerDiedError``, after which the process has ended.
        """
        try:
            for part in (_ASKED.pack(len(head), len(data), memory, seconds), head, data):
                self._socket.settimeout(seconds_until(deadline))
                self._socket.sendall(part)
            (length,) = _ANSWERED.unpack(self._received(_ANSWERED.size, deadline))
            return self._received(length, deadline)
        except TimeoutError as error:
            self.end()
            raise WorkerLateError from error
        except (OSError, EOFError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # it is on its way, and what it ends with is wanted
            self.end()
            timed = self._process.returncode == -signal.SIGXCPU
            raise (WorkerTimeError if timed else WorkerDiedError) from error
        except BaseException:  # whoever asked has gone, and nobody will take the answer
            self.end()
            raise

    def end(self) -> None:
        """Ends the process, unless it has ended already."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _received(self, length: int, deadline: float | None) -> bytes:
        found = bytearray(length)
        place = 0
        while place < length:
            self._socket.settimeout(seconds_until(deadline))
            count = self._socket.recv_into(memoryview(found)[place:])
            if not count:
                raise EOFError
            place += count
        return bytes(found)


REST_SECONDS = 60.0
"""Without work, after which a process ends unless it is the only one left."""


class Workers:
    """At most ``most`` processes of ``module``: begun as they are wanted, asked in turn.

    One is kept, further ones as long as they are wanted again soon.
    """

    def __init__(self, module: str, most: int) -> None:
        self._module = module
        self._free = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[tuple[Worker, float]] = []  # with when it came to rest, the longest first
        self._tended = False

    def ask(
        self, head: bytes, data: bytes, *, memory: int, seconds: int, deadline: float | None
    ) -> bytes:
        """As ``Worker.ask``, by the first process that is free.

        If its process dies another one is asked, once: somebody may have killed it.
        """
        limits = {"memory": memory, "seconds": seconds}
        if not self._free.acquire(timeout=seconds_until(deadline)):
            raise WorkerLateError
        try:
            with self._lock:
                worker = self._idle.pop()[0] if self._idle else Worker(self._module)
            try:
                answer = worker.ask(head, data, deadline=deadline, **limits)
            except WorkerDiedError:
                worker = Worker(self._module)
                answer = worker.ask(head, data, deadline=deadline, **limits)
            with self._lock:
                self._idle.append((worker, time.monotonic()))
                self._tend()
            return answer
        finally:
            self._free.release()

    def _tend(self) -> None:
        """Has a look at the processes at rest after a while, where there are several."""
        if len(self._idle) > 1 and not self._tended:
            self._tended = True
            timer = threading.Timer(REST_SECONDS, self._end_rested)
            timer.daemon = True
            timer.start()

    def _end_rested(self) -> None:
        with self._lock:
            since = time.monotonic() - REST_SECONDS
            rested = [worker for worker, begun in self._idle[:-1] if begun <= since]
            del self._idle[: len(rested)]
            self._tended = False
            self._tend()
        for worker in rested:
            worker.end()

    def pids(self) -> list[int]:
        """The ids of the processes that wait for work."""
        with self._lock:
            return [worker.pid for worker, _ in self._idle]

    def end(self) -> None:
        """Ends the processes that wait for work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker, _ in idle:
            worker.end()


def seconds_until(deadline: float | None) -> float | None:
    """Seconds until ``deadline`` of ``time.monotonic``, at least a moment; None for no limit."""
    return None if deadline is None else max(1e-3, deadline - time.monotonic())


def serve(answer: Answer) -> None:
    """Answers what the process asks that started this one as a ``Worker``, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this
    connection = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    with connection, connection.makefile("rb") as stream, suppress(BrokenPipeError):
        while len(begun := stream.read(_ASKED.size)) == _ASKED.size:
            head_length, length, memory, seconds = _ASKED.unpack(begun)
            _limit(memory + head_length + length, seconds)
            head, data = stream.read(head_length), stream.read(length)
            if len(data) < length:
                return
            found = answer(head, data)
            del head, data
            connection.sendall(_ANSWERED.pack(len(found)) + found)


def _limit(memory: int, seconds: int) -> None:
    """Lets this process take ``memory`` bytes and ``seconds`` of work more than it has so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    with suppress(OSError):  # it is not told elsewhere than on Linux
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _set_limit(what: int, limit: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    with suppress(OSError, ValueError):  # a system that does not know it
        resource.setrlimit(what, (limit, most))
