"""One file over HTTP into a part file, resumed where it broke off and checked at the end."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import requests

from robustness import __version__
from robustness.models.digests import fresh_digest
from robustness.models.fetching import replies
from robustness.models.fetching.meter import Meter
from robustness.models.fetching.replies import SourceError

CONNECT_SECONDS = 10.0
"""Longest wait for a connection."""

TRIES = 3
"""In a row without a new byte, before a source is given up."""

BACKOFF_SECONDS = 0.5
"""Wait before the second try; doubled for each further one."""

_CHUNK = 1 << 15
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Expected:
    """What a file is to be: ``size`` in bytes, None where unknown, and never above ``limit``.

    ``digest`` is its hash; where it is None, the host's own is used if its answer carries one.
    """

    digest: str | None
    size: int | None
    limit: int


def fetch(url: str, part: Path, expected: Expected, meter: Meter, timeout: float) -> None:
    """Completes the file ``part`` with what ``url`` sends, and checks it.

    What is there of it is continued. ``timeout`` is the longest wait for the next bytes in
    seconds. Raises ``SourceError`` with the reason when this source fails; what arrived is then
    kept unless it is wrong. Raises ``OSError`` when the file cannot be written.
    """
    furthest = _size(part)
    in_vain = 0
    anew = False
    while True:
        try:
            return _try(url, part, expected, meter, timeout)
        except _WrongContentError as error:
            part.unlink(missing_ok=True)
            if not error.resumed or anew:
                raise
            anew = True  # one of its pieces was wrong; without pieces it may be right
        except SourceError as error:
            reached = _size(part)
            in_vain = 0 if reached > furthest else in_vain + 1
            furthest = max(furthest, reached)
            if not error.again or in_vain == TRIES:
                raise
            backoff = BACKOFF_SECONDS * 2 ** max(0, in_vain - 1)
            meter.wait(max(backoff, error.wait_seconds))


class _WrongContentError(SourceError):
    def __init__(self, reason: str, *, resumed: bool) -> None:
        super().__init__(reason)
        self.resumed = resumed


def _try(url: str, part: Path, expected: Expected, meter: Meter, timeout: float) -> None:
    start = _size(part)
    if expected.digest and start and start == expected.size:  # only its check was missing
        return _check(part, expected.digest, resumed=True)
    if start > (expected.size or expected.limit):
        part.unlink()
        start = 0
    with _Reader(url, start, timeout, meter) as reader:
        reply = replies.read_head(reader.head(), start)
        if reply.restart:  # what is there is of no use to this host
            if expected.digest and start and reply.status == 416:
                return _check(part, expected.digest, resumed=True)
            part.unlink(missing_ok=True)
            raise SourceError("it does not continue an interrupted download", again=True)
        digest = expected.digest or reply.digest
        if start and reply.start and digest is None:
            part.unlink()  # nothing would tell whether the pieces belong together
            raise SourceError("the connection broke off", again=True)
        _check_length(reply.total, expected)
        done = reply.start
        with open(part, "ab" if done else "wb") as stream:
            meter.at(done, reply.total or expected.size)
            for chunk in _kept(reader, part, digest):
                done += len(chunk)
                if done > (expected.size or expected.limit):
                    stream.close()
                    part.unlink()
                    raise SourceError(f"it sent more than {_bytes(expected)}")
                stream.write(chunk)
                meter.at(done, reply.total or expected.size)
            stream.flush()
            os.fsync(stream.fileno())  # a name must not survive a crash that its content did not
    whole = reply.total or expected.size
    if whole and done < whole:
        raise SourceError("the connection broke off", again=True)
    if digest:
        return _check(part, digest, resumed=reply.start > 0)
    if not reply.framed:  # the end of the connection could be a break
        part.unlink()
        raise SourceError("it announced neither a hash nor a length")
    return None


def _kept(reader: _Reader, part: Path, digest: str | None) -> Iterator[bytes]:
    """What ``reader`` gives; where it breaks off, ``part`` is kept if a hash can tell it whole."""
    try:
        yield from reader
    except SourceError:
        if digest is None:
            part.unlink(missing_ok=True)
        raise


def _check_length(total: int | None, expected: Expected) -> None:
    if total is None:
        return
    if total > expected.limit or expected.size not in (None, total):
        raise SourceError(f"it offers {total} bytes instead of {_bytes(expected)}")


def _bytes(expected: Expected) -> str:
    return (
        f"the expected {expected.size} bytes"
        if expected.size is not None
        else f"at most {expected.limit} bytes"
    )


def _check(part: Path, digest: str, *, resumed: bool) -> None:
    if fresh_digest(part, digest) != digest:
        algorithm = digest.partition(":")[0].upper()
        raise _WrongContentError(
            f"what it sent is not the published file, as its {algorithm} differs", resumed=resumed
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


class _Reader:
    """A download read by a thread of its own, so that whoever waits for bytes can stop at once."""

    def __init__(self, url: str, start: int, timeout: float, meter: Meter) -> None:
        self._meter = meter
        self._timeout = timeout
        self._answered = False
        self._stopped = threading.Event()
        self._items: queue.Queue[requests.Response | bytes | Exception | None] = queue.Queue(64)
        threading.Thread(target=self._read, args=(url, start), daemon=True).start()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()

    def head(self) -> requests.Response:
        """The answer without its body."""
        item = self._next()
        if not isinstance(item, requests.Response):
            raise TypeError(f"expected a response, got {item!r}")
        self._answered = True
        return item

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> bytes:
        item = self._next()
        if isinstance(item, bytes):
            return item
        raise StopIteration

    def _next(self) -> requests.Response | bytes | None:
        while True:
            try:
                item = self._items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._meter.poll()
                continue
            if isinstance(item, Exception):
                self._fail(item)
            return item

    def _fail(self, error: Exception) -> NoReturn:
        raise replies.trouble(error, self._timeout, answered=self._answered) from error

    def _read(self, url: str, start: int) -> None:
        headers = {
            "User-Agent": f"robustness/{__version__}",
            "Accept-Encoding": "identity",  # ranges and lengths are those of the file itself
        }
        if start:
            headers["Range"] = f"bytes={start}-"
        timeouts = (min(CONNECT_SECONDS, self._timeout), self._timeout)
        try:
            with (
                requests.Session() as session,
                session.get(url, headers=headers, stream=True, timeout=timeouts) as response,
            ):
                self._put(response)
                if response.status_code in replies.WITH_BODY:
                    for chunk in response.iter_content(_CHUNK):
                        if not self._put(chunk):
                            return
            self._put(None)
        except Exception as error:  # whatever it is, it is told to the one who waits
            self._put(error)

    def _put(self, item: requests.Response | bytes | Exception | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
