"""One file over HTTP, by pooch: hashed, tried again, stopped at its limit or when cancelled."""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pooch
from requests import RequestException, Response, exceptions

from robustness import __version__
from robustness.base.text import counted
from robustness.models.weights.digests import fresh_digest
from robustness.models.weights.meter import INTERVAL_SECONDS, Meter

BACKOFF_SECONDS = (0.5, 1.0)
"""Waits before the second and the third attempt, which is the last."""

_AGAIN = {408, 425, 429, *range(500, 600)}
"""Statuses that another attempt may change."""

_CHUNK = 1 << 15

pooch.get_logger().setLevel(logging.WARNING)


@dataclass(eq=False)
class SourceError(Exception):
    """A source failed. ``reason`` is part of a sentence; ``status`` is the HTTP status, if any.

    ``again`` says whether another attempt may succeed.
    """

    reason: str
    again: bool = False
    status: int | None = None

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Expected:
    """The expected file: its hash and ``size`` in bytes, where known; never above ``limit``.

    Without ``digest`` the host's own hash is used, if its answer carries one.
    """

    digest: str | None
    size: int | None
    limit: int


@dataclass
class _Counted:
    """The file that pooch writes to; an exception of ``write`` ends the download."""

    file: BinaryIO
    expected: Expected
    answers: list[Response]
    done: int = 0
    stopped: bool = False

    @property
    def total(self) -> int:
        """The bytes that the host announced; 0 if it did not."""
        length = self.answers[-1].headers.get("Content-Length", "") if self.answers else ""
        return int(length) if length.isdecimal() else 0

    def write(self, data: bytes) -> None:
        self.done += len(data)
        known, most = self.expected.size, self.expected.size or self.expected.limit
        if self.stopped:
            raise SourceError("it was cancelled")
        if max(self.done, self.total) > most or (known and self.total not in (0, known)):
            got = f"offers {self.total}" if self.total else "sends more"
            wanted = f"{known}" if known else f"at most {most}"
            raise SourceError(f"it {got}, expected {wanted} bytes")
        self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def fetch(url: str, target: Path, expected: Expected, meter: Meter, timeout: float) -> None:
    """Fetches ``url`` into the file ``target``, complete and with the expected hash.

    ``timeout`` is the longest wait for an answer or for the next bytes, in seconds. Raises
    ``SourceError`` when three attempts fail or another is pointless, ``OSError`` when the file
    cannot be written, and whatever ``meter`` raises to cancel.
    """
    for wait in BACKOFF_SECONDS:
        try:
            return _attempt(url, target, expected, meter, timeout)
        except SourceError as error:
            if not error.again:
                raise
            meter.wait(wait)
    return _attempt(url, target, expected, meter, timeout)


def _attempt(url: str, target: Path, expected: Expected, meter: Meter, timeout: float) -> None:
    """A thread of its own reads, so that a download can be cancelled while nothing arrives."""
    answers: list[Response] = []
    result, counted = Future[None](), _Counted(BytesIO(), expected, answers)
    ask = pooch.HTTPDownloader(
        chunk_size=_CHUNK,
        timeout=timeout,
        headers={"User-Agent": f"robustness/{__version__}", "Accept-Encoding": "identity"},
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )

    def download(url: str, path: str, _: object) -> None:
        with open(path, "wb") as counted.file:
            ask(url, counted, None)

    def read() -> None:
        try:
            pooch.retrieve(url, expected.digest, target.name, target.parent, downloader=download)
            if expected.digest is None:
                _check_by_host(target, answers)
            result.set_result(None)
        except BaseException as error:
            result.set_exception(error)
        finally:
            for answer in answers:
                answer.close()

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            meter.at(counted.done, counted.total)
            try:
                return result.result(INTERVAL_SECONDS)
            except TimeoutError:
                continue
    except RequestException as error:
        raise _trouble(error, timeout, begun=counted.done > 0) from error
    except ValueError as error:
        if expected.digest is None:
            raise SourceError("it is not a usable URL") from error
        raise _differs(expected.digest) from error
    finally:
        counted.stopped = True


def _check_by_host(target: Path, answers: list[Response]) -> None:
    """Raises ``SourceError`` if ``target`` differs from the host's hash, or may be cut short."""
    digest = next(filter(None, map(_host_digest, answers)), None)
    if digest is None and not {"Content-Length", "Transfer-Encoding"} & set(answers[-1].headers):
        target.unlink()
        raise SourceError("it announced neither a hash nor a length")
    if digest and fresh_digest(target, digest) != digest:
        target.unlink()
        raise _differs(digest)


def _host_digest(answer: Response) -> str | None:
    """The hash of the whole file from Google Storage, or from Hugging Face's redirect."""
    linked = answer.headers.get("X-Linked-ETag", "").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        return f"sha256:{linked}"
    if answer.headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return None  # the hash is of the compressed file
    md5 = re.search(r"(?:^|,)\s*md5=([^,]*)", answer.headers.get("x-goog-hash", ""))
    with contextlib.suppress(ValueError):
        return f"md5:{base64.b64decode(md5[1], validate=True).hex()}" if md5 else None
    return None


def _differs(digest: str) -> SourceError:
    algorithm = digest.partition(":")[0].upper()
    return SourceError(f"what it sent is not the published file, as its {algorithm} differs")


def _trouble(error: RequestException, timeout: float, *, begun: bool) -> SourceError:
    """The reason for a failed request."""
    text, response = str(error), error.response
    if response is not None:
        status = response.status_code
        reason = f"the server answered {status} {response.reason or ''}".rstrip()
        return SourceError(reason, again=status in _AGAIN, status=status)
    if isinstance(error, exceptions.ReadTimeout) or "Read timed out" in text:
        return SourceError(f"no bytes for {counted(f'{timeout:g}', 'second')}", again=True)
    if begun or isinstance(error, exceptions.ChunkedEncodingError) or "aborted" in text:
        return SourceError("the connection broke off", again=True)
    if isinstance(error, exceptions.SSLError):
        return SourceError("its certificate was not accepted")
    if isinstance(error, exceptions.ProxyError):
        return SourceError("the proxy cannot be reached or refused", again=True)
    if isinstance(error, exceptions.ConnectionError):
        return SourceError("the host cannot be reached", again=True)
    if re.search("proxy|SOCKS", text, re.IGNORECASE):
        return SourceError("the proxy variables name no usable http:// or https:// proxy")
    if isinstance(error, ValueError):
        return SourceError("it is not a usable URL")
    return SourceError("the request failed", again=True)
