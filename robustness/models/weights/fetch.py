"""Downloads published weights: whole and verified, or not at all.

Files come over HTTP from the mirror, if one is set, then from the official host; pooch tries again.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import logging
import math
import os
import re
import shutil
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
from robustness.base.disk import alone, occupied, write_whole
from robustness.base.errors import DownloadError, UnknownNameError
from robustness.base.text import counted, in_bytes
from robustness.models.model_record import REGISTRY, ModelRecord, Weights
from robustness.models.weights.weight_files import (
    SUMS,
    fault,
    file_digest,
    find_whole,
    fresh_digest,
    parsed_sums,
    size,
    size_text,
    sums,
    sums_text,
)

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

_CHUNK, _COPIED = 1 << 15, 1 << 20

TIMEOUT_SECONDS = 20.0
"""Longest wait for the next bytes, not for the whole file; the setting ``download_timeout``."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a full disk or quota, or of a process that may write no more."""

_SHA256 = "sha256:"
Get = Callable[[str, Path], None]
"""Fills a file with the source's file of a given name."""

pooch.get_logger().setLevel(logging.WARNING)


def download(name: str, progress: Progress | None = None, to: Path | None = None) -> Path:
    """Fetches the weights of the model ``name`` unless they are there already; returns the path.

    With ``to`` they come into that folder, which then serves as ``weights_dir`` or, over HTTP, as
    ``weights_mirror``; what is on this machine already is copied. What arrives gets its final name
    once it is complete and right; finished files of a preset are kept when a later one fails. Of
    several callers at once one fetches and the others wait.

    Raises ``UnknownNameError`` for a model without a downloadable file, ``ParameterError`` for a
    setting that means nothing, ``DownloadError`` when it fails, and whatever ``progress`` raises.
    """
    record = downloadable(name)
    weights = record.weights
    target = weights.paths()[-1] if to is None else to / weights.name
    if not fault(weights, target):
        return target
    present = find_whole(weights)
    if present is not None and to is None:
        return present
    expected = size(record) or 0
    meter = Meter(progress, expected)
    timeout = settings.value(settings.DOWNLOAD_TIMEOUT) or TIMEOUT_SECONDS
    hosts = Hosts(weights, math.ceil(1.5 * (expected or 1 << 30)), meter, timeout)
    get = hosts.get if present is None else _copying(present, meter)
    part = _part(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target, lambda: meter.at(occupied(part))):
            if fault(weights, target):  # otherwise another process fetched it meanwhile
                _check_room(record, target, expected - occupied(part))
                _set_aside(target)
                try:
                    meter.at(occupied(part))  # the start is told, however fast it goes on
                    _bring(weights, part, get, meter)
                    os.replace(part if weights.files else part / weights.name, target)
                finally:
                    if target.exists() or not sums(part):
                        _remove(part)
                _remove(_aside(target))
                meter.finish()
    except SourceError as error:
        raise _failed(record, hosts.failures, part) from error
    except OSError as error:
        raise _refused(record, target, to, error) from error
    return target


def downloadable(name: str) -> ModelRecord:
    """The record ``name``; raises ``UnknownNameError`` if its weights cannot be downloaded."""
    record = REGISTRY[name]
    weights = record.weights
    if weights.url:
        return record
    if weights.own:
        raise UnknownNameError(
            f"{name} is a model of your own, at {weights.own.path}, and is not downloaded."
        )
    brought = f"with '{weights.source}'" if weights.requirement else "as part of the dashboard"
    raise UnknownNameError(
        f"The weights of {name} come {brought} and are not downloaded. If they are missing, "
        f"{weights.remedy}."
    )


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _aside(target: Path) -> Path:
    return target.with_name(f"{target.name}.damaged")


def _bring(weights: Weights, part: Path, get: Get, meter: Meter) -> None:
    """Fills the folder ``part``, with the hashes of finished files in a list beside them."""
    if part.is_file():  # an earlier version's
        part.unlink()
    part.mkdir(exist_ok=True)
    have = sums(part) or {}
    # Configurations first: they are small and show at once whether a source has the preset.
    for file in sorted(weights.file_names, key=lambda name: not name.endswith(".json")):
        final = part / file
        if not final.is_file() or fresh_digest(final, _SHA256) != have.get(file):
            final.unlink(missing_ok=True)
            get(file, final)
            have[file] = fresh_digest(final, _SHA256)
            write_whole(part / SUMS, sums_text(have).encode())
        meter.file_done(occupied(final))
    for path in set(part.iterdir()) - {part / name for name in (*weights.file_names, SUMS)}:
        path.unlink(missing_ok=True)  # the rest of an attempt that was killed


def _copying(present: Path, meter: Meter) -> Get:
    """Makes a ``Get`` that copies from the file or folder ``present``."""

    def copy(file: str, target: Path) -> None:
        original = present / file if present.is_dir() else present
        with original.open("rb") as source, target.open("wb") as stream:
            while chunk := source.read(_COPIED):
                stream.write(chunk)
                meter.at(stream.tell())
        if fresh_digest(target, _SHA256) != file_digest(original, _SHA256):
            target.unlink()
            raise DownloadError(
                f"The copy of {original} in {target.parent} is incomplete: try again."
            )

    return copy


def _set_aside(target: Path) -> None:
    """Moves a faulty file away from the final name, even if the next download fails."""
    if target.exists():
        _remove(_aside(target))
        os.replace(target, _aside(target))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # a cancelled thread may still write there
    else:
        path.unlink(missing_ok=True)


def _check_room(record: ModelRecord, target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise DownloadError(
            f"{record.name} still needs {in_bytes(needed)} in {target.parent}, where "
            f"{in_bytes(free)} are free: make room there, or choose another folder."
        )


def _refused(record: ModelRecord, target: Path, to: Path | None, error: OSError) -> DownloadError:
    """The file system's refusal as a sentence."""
    if error.errno in _FULL:
        return DownloadError(
            f"No room for {record.name}, {size_text(record)}, in {target.parent} "
            f"({error.strerror}): make room there, or choose another folder."
        )
    ours = target.is_relative_to(settings.cache_folder())
    variable = settings.CACHE.variable if ours else "KERAS_HOME"
    return DownloadError(
        f"The weights of {record.name} cannot be kept in {target.parent}: "
        f"{error.strerror or type(error).__name__}. Make it writable, or choose another folder.",
        hint=f"That is {'--to' if to else variable}.",
    )


def _failed(record: ModelRecord, failures: str, part: Path) -> DownloadError:
    note = "Finished files are kept" if occupied(part) else "Nothing was kept"
    return DownloadError(
        f"The weights of {record.name}, {size_text(record)}, could not be fetched: {failures}. "
        f"{note}: try again, or name a folder or a mirror that has them "
        f"({settings.WEIGHTS_DIR.variable}, {settings.WEIGHTS_MIRROR.variable})."
    )


# --- progress and failures ------------------------------------------------------------------------


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
