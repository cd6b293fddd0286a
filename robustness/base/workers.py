"""Worker processes with limits on memory and time, for untrusted bytes and for work in parallel.

``Worker`` is the caller's end of the connection, ``serve`` the worker's. A worker exits when its
parent does, however that ends and whatever the worker computes. It sees nothing of the parent's
environment but ``small_environment``. macOS cannot limit memory; there only the time limits hold.
``read`` reads untrusted Parquet tables in one: a file of a few bytes may expand to any size, and a
damaged one may crash its reader.

Beside them: how background processes of this program start, yield, end and are identified, and
settings of glibc's allocator, no-ops elsewhere, and of Arrow's, for how much freed memory stays.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import math
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

import robustness
from robustness.base.errors import ParameterError
from robustness.base.files import require_regular, version

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


# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_TRIM_BYTES = 16 * 2**20
"""Bytes: twice what perturbing and comparing one image allocates."""

_MMAP_BYTES = 4 * 2**20
"""Bytes: six study images in one array. Larger blocks return to the system at once."""

_setting = threading.Lock()
_is_everything_kept = False


def keep_arrays() -> None:
    """Keep freed arrays for the next ones, up to ``_TRIM_BYTES`` bytes per heap.

    By default the memory returns to the system, which clears every page before reuse; that took
    longer than the computation. Measured: perturbing and comparing one 224 x 224 image takes 5 to
    6 ms instead of 10.
    """
    with _setting:
        if not _is_everything_kept:  # which is more
            _set({_M_MMAP_THRESHOLD: _MMAP_BYTES, _M_TRIM_THRESHOLD: _TRIM_BYTES})


def keep_everything() -> bool:
    """Keep all freed memory in one heap until ``give_back``; return whether that worked."""
    global _is_everything_kept
    with _setting:
        _is_everything_kept = True
        _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1})
    return _glibc() is not None


def share_with_arrow() -> None:
    """Let Arrow take its memory from the system's allocator.

    Its own keeps a heap for each thread. Measured on a run of 1.9 million rows: a comparison peaks
    at 430 MB instead of 480, a server that ten visitors open it on at 520 MB instead of 565.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:  # it read the variable when it was imported
        arrow.set_memory_pool(arrow.system_memory_pool())


def give_back() -> None:
    """Return kept memory to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    library = _glibc()
    if library is not None:
        for option, value in options.items():
            library.mallopt(option, value)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):  # another library, such as musl
        return None
    return library


if TYPE_CHECKING:
    import pyarrow as pa

ROWS_FREE = 100_000
BYTES_FREE = 2**25
"""Rows and unpacked bytes that any file may have."""

MAX_RATIO = 100
"""Beyond these, a file may have a row and so many unpacked bytes for each of its bytes."""

MAX_BYTES = 4 * 2**30
"""Most bytes of a file."""

_MEMORY = 2**28
_SECONDS = 60  # beside what the size of the file explains
_WORKERS = Workers("robustness.base.parquet_process", 2)
atexit.register(_WORKERS.end)


def columns(path: Path) -> list[tuple[str, bool]]:
    """Return the name of each column of the file ``path``, and whether it is nested.

    Raises as ``read`` does.
    """
    return [(name, nested) for name, nested in _ask_worker(path, {})["columns"]]


def read(path: Path, names: Sequence[str] | None = None, ratio: int = MAX_RATIO) -> pa.Table:
    """Return the columns ``names`` of the file ``path``, by default all, as a table.

    Its memory is mapped from a file. Repeated values are written out: dictionaries become what they
    stand for. Raises ``ParameterError`` for a file that has far more rows, or more than ``ratio``
    times as many bytes unpacked; ``ValueError`` for one that is damaged; and ``OSError``, also for
    one of more than ``MAX_BYTES``.
    """
    import pyarrow as pa

    size = path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.arrow"
        request = {
            "wanted": names and list(names),
            "to": str(table),
            "rows": max(ROWS_FREE, size),
            "bytes": max(BYTES_FREE, ratio * size),
        }
        _ask_worker(path, request)
        return pa.ipc.open_file(pa.memory_map(str(table))).read_all()


def _ask_worker(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of a process; raises as ``read`` does."""
    require_regular(path, MAX_BYTES)
    size = path.stat().st_size
    seconds = _SECONDS + size // 10**6
    try:
        answer = _WORKERS.ask(
            json.dumps({"path": str(path), **request}).encode(),
            b"",
            memory=_MEMORY + 2 * size + 3 * request.get("bytes", 0),
            seconds=seconds,
            deadline=time.monotonic() + 3 * seconds,
            file=(path, version(path)),
        )
    except (WorkerDiedError, WorkerTimeError, WorkerLateError) as error:
        raise ValueError("it is damaged, or takes too much memory or time") from error
    reply: dict[str, Any] = json.loads(answer)
    if "unwritten" in reply:
        raise OSError(*reply["unwritten"])
    if "damaged" in reply:
        raise ValueError("it is no whole Parquet file")
    if "problem" in reply:
        raise ParameterError(
            f"{path.name} is refused: its {size:,} bytes {reply['problem']}; write the table again "
            "with each row once."
        )
    return reply
