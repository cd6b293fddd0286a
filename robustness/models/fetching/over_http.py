"""One file over HTTP into a part file, resumed where it broke off and checked at the end."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from robustness import __version__
from robustness.base.disk import occupied
from robustness.models.fetching.digests import fresh_digest
from robustness.models.fetching.meter import INTERVAL_SECONDS, Meter
from robustness.models.fetching.replies import BROKE_OFF, Reply, SourceError, read_head, trouble

TRIES = 3
"""In a row without a new byte, before a source is given up."""

BACKOFF_SECONDS = 0.5
"""Wait before the second try; doubled for each further one."""

_CHUNK = 1 << 15


@dataclass(frozen=True)
class Expected:
    """What a file is to be: ``size`` in bytes, at most ``limit`` where it is None.

    ``digest`` is its hash; where it is None, the host's own is used if its answer carries one.
    """

    digest: str | None
    size: int | None
    limit: int

    @property
    def most(self) -> int:
        """The bytes that it never exceeds."""
        return self.size or self.limit

    def __str__(self) -> str:
        known = self.size is not None
        return f"the expected {self.size} bytes" if known else f"at most {self.limit} bytes"


def fetch(url: str, part: Path, expected: Expected, meter: Meter, timeout: float) -> None:
    """Completes the file ``part`` with what ``url`` sends, and checks it.

    What is there of it is continued. ``timeout`` is the longest wait for an answer or for the next
    bytes, in seconds. Raises ``SourceError`` with the reason when this source fails; what arrived
    is then kept unless it is wrong. Raises ``OSError`` when the file cannot be written.
    """
    furthest, in_vain = occupied(part), 0
    while True:
        try:
            return _try(url, part, expected, meter, timeout)
        except SourceError as error:
            reached = occupied(part)
            in_vain = 0 if reached > furthest else in_vain + 1
            furthest = max(furthest, reached)
            if not error.again or in_vain == TRIES:
                raise
            backoff = BACKOFF_SECONDS * 2 ** max(0, in_vain - 1)
            meter.wait(max(backoff, error.wait_seconds))


def _try(url: str, part: Path, expected: Expected, meter: Meter, timeout: float) -> None:
    start = occupied(part)
    if expected.digest and start and start == expected.size:  # only its check was missing
        return _check(part, expected.digest, resumed=True)
    if start > expected.most:
        part.unlink()
        start = 0
    with contextlib.closing(_answer(url, start, meter, timeout)) as answer:
        reply: Reply | None = next(answer, None)
        if reply is None:  # it has no more of it than is there, or does not continue
            return _check(part, expected.digest, resumed=True)
        digest = expected.digest or reply.digest
        if reply.start and digest is None:
            part.unlink()  # nothing would tell whether the pieces belong together
            raise SourceError(BROKE_OFF, again=True)
        if reply.total is not None and (
            reply.total > expected.limit or expected.size not in (None, reply.total)
        ):
            raise SourceError(f"it offers {reply.total} bytes instead of {expected}")
        done, whole = reply.start, reply.total or expected.size
        try:
            with open(part, "ab" if done else "wb") as file:
                meter.at(done, whole)
                for chunk in answer:
                    done += len(chunk)
                    if done > expected.most:
                        break
                    file.write(chunk)
                    meter.at(done, whole)
                file.flush()
                os.fsync(file.fileno())  # a name must not survive a crash that its content did not
        except SourceError:
            if digest is None:  # nothing would tell whether the rest belongs to it
                part.unlink()
            raise
    if done > expected.most:
        part.unlink()
        raise SourceError(f"it sent more than {expected}")
    if whole and done < whole:
        raise SourceError(BROKE_OFF, again=True)
    if digest:
        return _check(part, digest, resumed=reply.start > 0)
    if not reply.framed:  # the end of the connection could be a break
        part.unlink()
        raise SourceError("it announced neither a hash nor a length")
    return None


def _check(part: Path, digest: str | None, *, resumed: bool) -> None:
    """Raises ``SourceError`` unless ``part`` is whole and right; then nothing of it is kept.

    One of its pieces may be wrong where it was ``resumed``: without pieces it may be right.
    """
    if digest and fresh_digest(part, digest) == digest:
        return
    part.unlink()
    if digest is None:
        raise SourceError("it does not continue an interrupted download", again=True)
    algorithm = digest.partition(":")[0].upper()
    raise SourceError(
        f"what it sent is not the published file, as its {algorithm} differs", again=resumed
    )


def _answer(url: str, start: int, meter: Meter, timeout: float) -> Generator[Any]:
    """The ``Reply`` to a request for the bytes from ``start`` on, then those, piece by piece.

    Nothing where there is no reply of use; raises ``SourceError`` where the request fails. A thread
    of its own reads, so that whoever waits for bytes can stop at once.
    """
    items: queue.Queue[Any] = queue.Queue(64)
    closed = threading.Event()

    def put(item: Any) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=INTERVAL_SECONDS)
                return True
        return False

    def read() -> None:
        reply = None
        try:
            with requests.Session() as session, _asked(session, url, start, timeout) as response:
                reply = read_head(response, start)
                going = reply is not None and put(reply)
                for chunk in response.iter_content(_CHUNK) if going else ():
                    if not put(chunk):
                        return
            put(None)
        except SourceError as error:
            put(error)
        except Exception as error:  # whatever it is, it is told to the one who waits
            put(trouble(error, timeout, answered=reply is not None))

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                item = items.get(timeout=INTERVAL_SECONDS)
            except queue.Empty:
                meter.poll()
                continue
            if item is None:
                return
            if isinstance(item, SourceError):
                raise item
            yield item
    finally:
        closed.set()


def _asked(session: requests.Session, url: str, start: int, timeout: float) -> requests.Response:
    headers = {
        "User-Agent": f"robustness/{__version__}",
        "Accept-Encoding": "identity",  # ranges and lengths are those of the file itself
    }
    if start:
        headers["Range"] = f"bytes={start}-"
    return session.get(url, headers=headers, stream=True, timeout=timeout)
