"""Worker processes with limits on memory and time, for untrusted bytes and for work in parallel.

``Worker`` is the caller's end of the connection, ``serve`` the worker's. A worker exits when its
parent does, however that ends and whatever the worker computes. It sees nothing of the parent's
environment but ``small_environment``. macOS cannot limit memory; there only the time limits hold.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustness.base.processes import small_environment

_REQUEST = struct.Struct("<QQQQ")  # bytes of head, data and memory; seconds of CPU time
_REPLY = struct.Struct("<Q")

MAX_ANSWER = 64 * 2**20
"""Most bytes of an answer: 20 times those of the largest study image."""

_WATCH_MILLISECONDS = 500
_MOST_FATAL = 10_000

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # nothing is multiplied, and each thread takes memory
    # Addresses are limited: by default Arrow reserves a gigabyte, and each thread 64 MB.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    # Large blocks return to the system at once; small ones are reused.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
}

Answer = Callable[[bytes, bytes], bytes]
"""What a worker runs: (head, data) to answer."""


class WorkerDiedError(Exception):
    """The worker exited without an answer, or began one of more than ``MAX_ANSWER`` bytes."""


class WorkerKilledError(WorkerDiedError):
    """The worker was ended from outside, as the system does when memory runs out."""


class WorkerTimeError(Exception):
    """The worker exceeded its CPU time."""


class WorkerLateError(Exception):
    """No worker was free, or none had answered, by the deadline."""


_ENDINGS: Mapping[int | None, type[Exception]] = {
    -signal.SIGXCPU: WorkerTimeError,
    -signal.SIGKILL: WorkerKilledError,
    -signal.SIGTERM: WorkerKilledError,
}
"""What a status of exit means; any other is ``WorkerDiedError``."""


class Worker:
    """A process that runs the module ``module``, which must call ``serve``."""

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(os.getpid())],
                env={**small_environment(), **_ENVIRONMENT},
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
        """Return the answer to ``head`` and ``data``.

        The worker may use ``memory`` bytes beyond these and ``seconds`` of CPU time, until
        ``deadline`` (of ``time.monotonic``; None: no limit). Raises ``WorkerTimeError``,
        ``WorkerLateError`` or ``WorkerDiedError``; the process has then ended.
        """
        try:
            for part in (_REQUEST.pack(len(head), len(data), memory, seconds), head, data):
                self._socket.settimeout(seconds_until(deadline))
                self._socket.sendall(part)
            (length,) = _REPLY.unpack(self._received(_REPLY.size, deadline))
            if length > MAX_ANSWER:
                raise WorkerDiedError
            return self._received(length, deadline)
        except TimeoutError as error:
            self.end()
            raise WorkerLateError from error
        except (OSError, EOFError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            status = self._process.returncode  # None if it only closed the connection
            self.end()
            raise _ENDINGS.get(status, WorkerDiedError) from error
        except BaseException:  # the caller is gone: nobody will read the answer
            self.end()
            raise

    def end(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _received(self, length: int, deadline: float | None) -> bytes:
        """The next ``length`` bytes; raises ``EOFError`` if the process ends before."""
        buffer = bytearray(length)
        received = 0
        while received < length:
            self._socket.settimeout(seconds_until(deadline))
            count = self._socket.recv_into(memoryview(buffer)[received:])
            if not count:
                raise EOFError
            received += count
        return bytes(buffer)


REST_SECONDS = 60.0
"""Idle time after which a spare worker ends."""


class Workers:
    """A pool of at most ``most`` workers of ``module``, started on demand.

    All but ``least`` end after a minute without work.
    """

    def __init__(self, module: str, most: int, least: int = 1) -> None:
        self._module = module
        self._least = least
        self._busy: set[Worker] = set()
        self._stopped = False
        self._free = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[tuple[Worker, float]] = []  # and since when, oldest first
        self._tended = False
        self._fatal: dict[Hashable, type[Exception]] = {}

    def ask(
        self,
        head: bytes,
        data: bytes,
        *,
        memory: int,
        seconds: int,
        deadline: float | None,
        file: Hashable = None,
    ) -> bytes:
        """Return the answer of the first free worker, as ``Worker.ask`` does.

        If that was killed from outside, another one is asked once. ``file`` identifies the content
        that the question is about: one that has ended a worker raises the same again at once.
        """
        limits: dict[str, Any] = {"memory": memory, "seconds": seconds, "deadline": deadline}
        if not self._free.acquire(timeout=seconds_until(deadline)):
            raise WorkerLateError
        try:
            ending = self._fatal.get(file)
            if ending is not None:
                raise ending
            try:
                return self._ask_next(head, data, **limits)
            except WorkerKilledError:  # all that idle may have been killed
                return self._ask_next(head, data, fresh=True, **limits)
        except (WorkerDiedError, WorkerTimeError) as error:
            with self._lock:
                if file is not None and not self._stopped:
                    self._fatal[file] = type(error)
                if len(self._fatal) > _MOST_FATAL:
                    del self._fatal[next(iter(self._fatal))]
            raise
        finally:
            self._free.release()

    def _ask_next(self, *question: bytes, fresh: bool = False, **limits: Any) -> bytes:
        with self._lock:
            if self._stopped:
                raise WorkerDiedError
            if self._idle and not fresh:
                worker, _ = self._idle.pop()
            else:
                worker = Worker(self._module)
            self._busy.add(worker)
        try:
            answer = worker.ask(*question, **limits)
            with self._lock:
                self._idle.append((worker, time.monotonic()))
                self._tend()
            return answer
        finally:
            self._busy.discard(worker)

    def _tend(self) -> None:
        """Schedule the end of idle workers, if there are more than ``least``."""
        if len(self._idle) > self._least and not self._tended:
            self._tended = True
            timer = threading.Timer(REST_SECONDS, self._end_rested)
            timer.daemon = True
            timer.start()

    def _end_rested(self) -> None:
        with self._lock:
            latest = time.monotonic() - REST_SECONDS
            spare = self._idle[: len(self._idle) - self._least]
            rested = [worker for worker, idle_since in spare if idle_since <= latest]
            del self._idle[: len(rested)]
            self._tended = False
            self._tend()
        for worker in rested:
            worker.end()

    def pids(self) -> list[int]:
        """The process ids of idle workers."""
        with self._lock:
            return [worker.pid for worker, _ in self._idle]

    def end(self) -> None:
        """End all idle workers."""
        with self._lock:
            idle = self._idle
            self._idle = []
        for worker, _ in idle:
            worker.end()

    def stop(self) -> None:
        """End all workers for good: who waits for one gets ``WorkerDiedError``."""
        with self._lock:
            self._stopped = True
            for worker in self._busy:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
        self.end()


def seconds_until(deadline: float | None) -> float | None:
    """Seconds until ``deadline`` of ``time.monotonic``, at least a moment; None for no limit."""
    if deadline is None:
        return None
    return max(1e-3, deadline - time.monotonic())


def serve(answer: Answer) -> None:
    """Answer the parent's questions until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    connection = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    with connection, connection.makefile("rb") as stream, suppress(BrokenPipeError):
        while True:
            request = stream.read(_REQUEST.size)
            if len(request) < _REQUEST.size:
                return
            head_length, data_length, memory, seconds = _REQUEST.unpack(request)
            _limit(memory + head_length + data_length, seconds)
            head = stream.read(head_length)
            data = stream.read(data_length)
            if len(data) < data_length:
                return
            reply = answer(head, data)
            del head, data  # before the reply is copied
            connection.sendall(_REPLY.pack(len(reply)) + reply)


def _end_with(parent: int) -> None:
    """End this process once the process ``parent`` has ended or closed the connection.

    A signal at the parent's death (``PR_SET_PDEATHSIG``) would come when the thread ends that
    started this process. A process that the parent forked may hold the connection open.
    """
    hang_up = select.poll()
    hang_up.register(sys.stdin.fileno(), 0)
    while not hang_up.poll(_WATCH_MILLISECONDS) and os.getppid() == parent:
        pass
    os._exit(1)


def _limit(memory: int, seconds: int) -> None:
    """Limit this process to ``memory`` bytes and ``seconds`` of CPU time more than used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    with suppress(OSError):  # Linux only
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _set_limit(kind: int, limit: int) -> None:
    _, hard_limit = resource.getrlimit(kind)
    if hard_limit != resource.RLIM_INFINITY:
        limit = min(limit, hard_limit)
    with suppress(OSError, ValueError):  # not supported by this system
        resource.setrlimit(kind, (limit, hard_limit))
