"""Files over HTTP: from the mirror, if one is set, then the official host; pooch tries again."""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pooch
from requests import RequestException, Response, exceptions

from robustness import __version__
from robustness.base import settings
from robustness.base.text import counted
from robustness.models.model_record import Weights
from robustness.models.weights.digests import SUMS, fresh_digest, parsed_sums

Progress = Callable[[int, int], None]
"""Called with the bytes received and the bytes expected (0 if unknown); may raise to cancel.

Called about ten times a second, even while nothing arrives. The bytes received may fall when a
source restarts.
"""

_INTERVAL_SECONDS = 0.1

_RETRIES = 2
"""After the first attempt; pooch waits one second, then two."""

_PASSING = {408, 425, 429, *range(500, 600)}
"""Statuses that another attempt may change."""

_NO_SUCH_FILE = {403, 404, 410}

_LARGEST_LIST = 1 << 16
"""Maximum bytes of a list of hashes."""

_CHUNK = 1 << 15

pooch.get_logger().setLevel(logging.WARNING)


class Meter:
    """Reports progress at the start, at the end, and at intervals between.

    ``expected`` is the total number of bytes, as far as known.
    """

    def __init__(self, progress: Progress | None, expected: int) -> None:
        self._progress = progress
        self._expected = expected
        self._finished = 0
        self._next = 0.0

    def at(self, done: int, total: int = 0) -> None:
        """Notes that the current file is at ``done`` of ``total`` bytes; raises what cancels."""
        now = time.monotonic()
        if self._progress is not None and now >= self._next:
            self._next = now + _INTERVAL_SECONDS
            done += self._finished
            total = max(self._expected, self._finished + total if total else 0)
            self._progress(done, max(done, total) if total else 0)

    def file_done(self, size: int) -> None:
        """Notes that a file of ``size`` bytes is complete; the next one follows."""
        self._finished += size
        self.at(0)

    def finish(self) -> None:
        """Reports the end."""
        if self._progress is not None:
            self._progress(self._finished, self._finished)


@dataclass(eq=False)
class SourceError(Exception):
    """A source failed. ``reason`` is part of a sentence; ``status`` is the HTTP status, if any."""

    reason: str
    status: int | None = None

    def __str__(self) -> str:
        return self.reason


class PassingError(SourceError, ValueError):
    """A failure that another attempt may mend: pooch tries again after a ``ValueError``."""


# --- hosts ----------------------------------------------------------------------------------------


@dataclass
class Host:
    """``address`` gives a file's URL by its name; ``label`` is what messages call the host.

    ``sums`` are {file: digest} as a list beside a folder's files has them; None until it is
    requested. ``failure`` is why the host failed, after which it is not used again.
    """

    label: str
    address: Callable[[str], str]
    sums: Mapping[str, str] | None
    failure: str = ""


@dataclass
class Hosts:
    """Downloads files of ``weights``, each at most ``limit`` bytes, from the first working host."""

    weights: Weights
    limit: int
    meter: Meter
    timeout: float
    hosts: list[Host] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = _hosts(self.weights)

    @property
    def failures(self) -> str:
        """Why each host failed, as part of a sentence."""
        return "; ".join(f"{host.label} ({host.failure})" for host in self.hosts)

    def get(self, file: str, target: Path) -> None:
        """Fetches the file called ``file`` into ``target``.

        Raises ``SourceError`` when all hosts failed, ``OSError`` when it cannot be written.
        """
        for host in self.hosts:
            if host.failure:
                continue
            try:
                download = self._download(host, file, target)
                return fetch(host.address(file), target, download, self.meter)
            except SourceError as error:
                host.failure = str(error)
        raise SourceError(self.failures)

    def _download(self, host: Host, file: str, target: Path) -> FileDownload:
        if not self.weights.files:
            return FileDownload(self.timeout, self.limit, self.weights.size, self.weights.digest)
        if host.sums is None:
            host.sums = self._list_of_sums(host, target.with_name(f".{SUMS}"))
        return FileDownload(self.timeout, self.limit, digest=host.sums.get(file))

    def _list_of_sums(self, host: Host, target: Path) -> Mapping[str, str]:
        """The list of hashes that ``host`` has beside a folder's files; empty if it has none."""
        try:
            fetch(host.address(SUMS), target, FileDownload(self.timeout, _LARGEST_LIST), self.meter)
            return parsed_sums(target.read_text(encoding="utf-8", errors="replace"))
        except SourceError as error:
            if error.status not in _NO_SUCH_FILE:
                raise
            return {}
        finally:
            target.unlink(missing_ok=True)


def _hosts(weights: Weights) -> list[Host]:
    official = Host(str(urlsplit(weights.url).hostname), weights.address, sums={})
    mirror = settings.text(settings.WEIGHTS_MIRROR)
    if not mirror:
        return [official]
    base = mirror.rstrip("/")
    label = re.sub(r"^(\w+://)?[^/]*@", r"\1", base)  # without a user's name and password
    folder = f"{base}/{weights.name}" if weights.files else base
    return [Host(label, lambda file: f"{folder}/{file}", sums=None), official]


# --- one file -------------------------------------------------------------------------------------


def fetch(url: str, target: Path, download: FileDownload, meter: Meter) -> None:
    """Fetches ``url`` into the file ``target``, complete and with the expected hash.

    Raises ``SourceError`` when all attempts fail or another is pointless, ``OSError`` when the file
    cannot be written, and whatever ``meter`` raises to cancel. A thread of its own reads, so that
    a download can be cancelled while nothing arrives.
    """
    result = Future[None]()
    files = pooch.create(
        target.parent.absolute(),
        base_url="",
        registry={target.name: None},  # the download checks the hash: a wrong one is lasting
        urls={target.name: url},
        retry_if_failed=_RETRIES,
    )

    def read() -> None:
        try:
            files.fetch(target.name, downloader=download)
            result.set_result(None)
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            meter.at(download.done, download.total)
            if wait([result], _INTERVAL_SECONDS).done:
                return result.result()
    finally:
        download.stopped = True


@dataclass
class FileDownload:
    """Pooch's downloader, and the file that it writes to: counted, checked, and stopped.

    ``timeout`` is the longest wait for an answer or for the next bytes, in seconds. The file has
    ``size`` bytes, where known, and never more than ``limit``. Without ``digest`` the host's own
    hash is checked, if its response has one.
    """

    timeout: float
    limit: int
    size: int | None = None
    digest: str | None = None
    done: int = 0
    stopped: bool = False
    responses: list[Response] = field(default_factory=list)
    file: BinaryIO = field(init=False)

    def __call__(self, url: str, path: str, _: object) -> None:
        """One attempt; raises ``PassingError`` for a failure that another may mend."""
        self.done, self.responses = 0, []
        request = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            timeout=self.timeout,
            headers={"User-Agent": f"robustness/{__version__}", "Accept-Encoding": "identity"},
            hooks={"response": lambda response, **_: self.responses.append(response)},
        )
        try:
            with open(path, "wb") as self.file:
                self.write(b"")  # unless it was cancelled between two attempts
                request(url, self, None)
            self._check(Path(path))
        except RequestException as error:
            raise _failure(error, self.timeout, begun=self.done > 0) from error
        except ValueError as error:
            raise SourceError("it is not a usable URL") from error
        finally:
            for response in self.responses:
                response.close()

    @property
    def total(self) -> int:
        """The bytes that the host announced; 0 if it did not."""
        length = self.responses[-1].headers.get("Content-Length", "") if self.responses else ""
        return int(length) if length.isdecimal() else 0

    def write(self, data: bytes) -> None:
        """Writes ``data``; raises ``SourceError`` where it is too much, or the user cancelled."""
        self.done += len(data)
        most = self.size or self.limit
        if self.stopped:
            raise SourceError("it was cancelled")
        if max(self.done, self.total) > most or (self.size and self.total not in (0, self.size)):
            offer = f"offers {self.total}" if self.total else "sends more"
            raise SourceError(f"it {offer}, expected {'' if self.size else 'at most '}{most} bytes")
        self.file.write(data)

    def flush(self) -> None:
        """Flushes the file, as pooch requests after each chunk."""
        self.file.flush()

    def _check(self, path: Path) -> None:
        """Raises ``SourceError`` if the file has another hash, or may be cut short."""
        digest = self.digest or next(filter(None, map(_host_digest, self.responses)), None)
        if digest is None:
            if not {"Content-Length", "Transfer-Encoding"} & set(self.responses[-1].headers):
                raise SourceError("it announced neither a hash nor a length")
        elif fresh_digest(path, digest) != digest:
            algorithm = digest.partition(":")[0].upper()
            raise SourceError(f"what it sent is not the published file, as its {algorithm} differs")


def _host_digest(response: Response) -> str | None:
    """The hash of the whole file from Google Storage, or from Hugging Face's redirect."""
    linked = response.headers.get("X-Linked-ETag", "").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        return f"sha256:{linked}"
    if response.headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return None  # the hash is of the compressed file
    md5 = re.search(r"(?:^|,)\s*md5=([^,]*)", response.headers.get("x-goog-hash", ""))
    with contextlib.suppress(ValueError):
        return f"md5:{base64.b64decode(md5[1], validate=True).hex()}" if md5 else None
    return None


def _failure(error: RequestException, timeout: float, *, begun: bool) -> SourceError:
    """The reason for a failed request."""
    text, response = str(error), error.response
    if response is not None:
        status = response.status_code
        reason = f"the server answered {status} {response.reason or ''}".rstrip()
        return (PassingError if status in _PASSING else SourceError)(reason, status)
    if isinstance(error, exceptions.ReadTimeout) or "Read timed out" in text:
        return PassingError(f"no bytes for {counted(f'{timeout:g}', 'second')}")
    if begun or isinstance(error, exceptions.ChunkedEncodingError) or "aborted" in text:
        return PassingError("the connection broke off")
    if isinstance(error, exceptions.SSLError):
        return SourceError("its certificate was not accepted")
    if isinstance(error, exceptions.ProxyError):
        return PassingError("the proxy cannot be reached or refused")
    if isinstance(error, exceptions.ConnectionError):
        return PassingError("the host cannot be reached")
    if re.search("proxy|SOCKS", text, re.IGNORECASE):
        return SourceError("the proxy variables name no usable http:// or https:// proxy")
    if isinstance(error, ValueError):
        return SourceError("it is not a usable URL")
    return PassingError("the request failed")
