"""Downloads published weights: whole and verified, or not at all.

Files come over HTTP from the mirror, if one is set, else from the official host; pooch tries again.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import glob
import logging
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pooch
from requests import RequestException, Response, exceptions

from robustness import __version__
from robustness.base import settings
from robustness.base.errors import DownloadError, UnknownNameError
from robustness.base.text import counted, in_bytes
from robustness.models.model_and_weights_record import REGISTRY, ModelRecord
from robustness.models.weights.weights_state_and_digest import (
    SUMS,
    fault,
    find_whole,
    fresh_digest,
    size,
    size_text,
    sums,
    sums_text,
)

Progress = Callable[[int, int], None]
"""Called with the bytes received and the bytes expected (0 if unknown); may raise to cancel.

Called up to ten times a second while bytes arrive. The bytes received fall when pooch tries again.
"""

_INTERVAL_SECONDS = 0.1

_RETRIES = 2
"""After the first attempt; pooch waits one second, then two."""

_LARGEST_LIST = 1 << 16
"""Maximum bytes of a list of hashes."""

_CHUNK = 1 << 17

_DAY_SECONDS = 86_400

_PART = ".part"
"""The suffix of temporary folders."""

TIMEOUT_SECONDS = 20.0
"""Longest wait for the next bytes, not for the whole file; the setting ``download_timeout``."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a full disk or quota, or of a process that may write no more."""

_SHA256 = "sha256:"

pooch.get_logger().setLevel(logging.WARNING)


def download(name: str, progress: Progress | None = None, to: Path | None = None) -> Path:
    """Fetch the weights of the model ``name`` unless they are there already; return the path.

    With ``to`` they come into that folder, which then serves as ``weights_dir`` or, over HTTP, as
    ``weights_mirror``; what is on this machine already is copied. What arrives gets its final name
    once it is complete and right. Several callers at once each fetch it; the first one's stays.

    Raises ``UnknownNameError`` for a model without a download, ``ParameterError`` for a setting
    that means nothing, ``DownloadError`` when it fails, and whatever ``progress`` raises.
    """
    record = record_with_download(name)
    weights = record.weights
    target = weights.paths()[-1] if to is None else to / weights.name
    if not fault(weights, target):
        return target
    present = find_whole(weights)
    if present is not None and to is None:
        return present
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{glob.escape(target.name)}.*{_PART}"):
            if time.time() - left.stat().st_mtime > _DAY_SECONDS:  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        free, needed = shutil.disk_usage(target.parent).free, size(record) or 0
        if free < needed:
            raise DownloadError(
                f"{name} needs {in_bytes(needed)} in {target.parent}, where {in_bytes(free)} are "
                "free: make room there, or choose another folder."
            )
        with tempfile.TemporaryDirectory(_PART, f".{target.name}.", target.parent) as folder:
            part = Path(folder) / target.name
            if weights.files:
                part.mkdir()
            if present is None:
                _fetch(record, part, progress or (lambda *_: None))
            elif weights.files:
                for file in weights.files:
                    shutil.copyfile(present / file, part / file)
            else:
                shutil.copyfile(present, part)
            if weights.files:
                source = present or part
                hashes = {file: fresh_digest(source / file, _SHA256) for file in weights.files}
                (part / SUMS).write_text(sums_text(hashes), encoding="utf-8")
            if present is not None and fault(weights, part):
                raise DownloadError(f"The copy of {present} is incomplete: try again.")
            try:
                if os.path.lexists(target) and fault(weights, target):
                    os.replace(target, part.with_name("damaged"))
                os.replace(part, target)
            except OSError:
                if fault(weights, target):  # otherwise another process was first
                    raise
    except _SourceError as error:
        raise DownloadError(
            f"The weights of {name}, {size_text(record)}, could not be fetched from {error}. Try "
            "again, or name a folder or a mirror that has them "
            f"({settings.WEIGHTS_DIR.variable}, {settings.WEIGHTS_MIRROR.variable})."
        ) from error
    except OSError as error:
        raise _refused(record, target, to, error) from error
    return target


def record_with_download(name: str) -> ModelRecord:
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


# --- over HTTP ------------------------------------------------------------------------------------


class _SourceError(Exception):
    """A file cannot be had; the message is part of a sentence."""


class _WrongFileError(ValueError):
    """What arrived is not the file; as a ``ValueError`` it makes pooch try again."""


def _fetch(record: ModelRecord, part: Path, progress: Progress) -> None:
    """Fetch the file ``part``, or the files of the folder ``part`` and a list of their hashes."""
    weights, mirror = record.weights, (settings.value(settings.WEIGHTS_MIRROR) or "").rstrip("/")
    expected, finished = size(record) or 0, 0
    most = weights.size or math.ceil(1.5 * (expected or 1 << 30))
    listed: Mapping[str, str] = {}

    def address(file: str) -> str:
        if not mirror:
            return weights.address(file)
        return f"{mirror}/{weights.name}/{file}" if weights.files else f"{mirror}/{file}"

    def report(done: int) -> None:
        progress(finished + done, max(expected, finished + done) if expected else 0)

    try:
        if weights.files and mirror:
            try:
                _FileDownload(lambda _: None, _LARGEST_LIST).into(part / SUMS, address(SUMS))
                listed = sums(part) or {}
            except _SourceError as error:
                if not isinstance(error.__cause__, exceptions.HTTPError):  # it has no list
                    raise
        for file in weights.file_names:
            target = part / file if weights.files else part
            digests = weights.digest, listed.get(file, "")
            _FileDownload(report, most, weights.size, digests).into(target, address(file))
            finished += target.stat().st_size
    except _SourceError as error:
        # The label names no user and no password.
        label = re.sub(r"^(\w+://)?[^/]*@", r"\1", mirror) or urlsplit(weights.url).hostname
        raise _SourceError(f"{label} ({error})") from error
    progress(finished, finished)


class _FileDownload:
    """Pooch's downloader of one file, and its progress bar: sizes and the hash are checked."""

    def __init__(
        self,
        report: Callable[[int], object],
        most: int,
        size: int | None = None,
        digests: tuple[str, str] | None = None,
    ) -> None:
        """``report`` receives the bytes that have arrived, and may raise to cancel.

        The file has ``size`` bytes, where known, and never more than ``most``. ``digests`` are its
        published hash and the listed one, "" where unknown; between them counts the one of the
        host's answer. A file without ``digests`` has no hash.
        """
        self._report = report
        self._most = most
        self._size = size
        self._digests = digests
        self._timeout = settings.value(settings.DOWNLOAD_TIMEOUT) or TIMEOUT_SECONDS
        self._path = Path()
        self._responses: list[Response] = []
        self._next = 0.0

    def into(self, target: Path, url: str) -> None:
        """Fetch ``url`` into the file ``target``.

        Raises ``_SourceError`` where that fails, ``OSError`` where the file cannot be written, and
        what ``report`` raises.
        """
        files = pooch.create(
            target.parent.absolute(),
            base_url="",
            registry={target.name: None},  # the hash may come with the answer
            urls={target.name: url},
            retry_if_failed=_RETRIES,
        )
        try:
            files.fetch(target.name, downloader=self)
        except (_WrongFileError, RequestException) as error:
            raise _SourceError(self._reason(error)) from error

    def __call__(self, url: str, path: str, _: object) -> None:
        """One attempt."""
        self._path, self._responses, self._next = Path(path), [], 0.0
        request = pooch.HTTPDownloader(
            progressbar=self,
            chunk_size=_CHUNK,
            timeout=self._timeout,
            headers={"User-Agent": f"robustness/{__version__}", "Accept-Encoding": "identity"},
            hooks={"response": lambda response, **_: self._responses.append(response)},
        )
        try:
            self.update()
            request(url, path, None)
            if self._digests is None:
                return
            published, listed = self._digests
            digest = published or next(filter(None, map(_host_digest, self._responses)), listed)
            if not digest:
                raise _SourceError("it gives no hash, and lists none in a file SHA256SUMS")
            if fresh_digest(self._path, digest) != digest:
                algorithm = digest.partition(":")[0].upper()
                raise _WrongFileError(
                    f"what it sent is not the published file: its {algorithm} differs"
                )
        finally:
            for response in self._responses:
                response.close()

    @property
    def total(self) -> int:
        """The bytes that the host announced; 0 if it did not."""
        return 0

    @total.setter
    def total(self, announced: int) -> None:
        if announced > self._most or (self._size and announced not in (0, self._size)):
            raise _SourceError(
                f"it offers {announced} bytes, expected "
                f"{'' if self._size else 'at most '}{self._most}"
            )

    def update(self, _: int = 0) -> None:
        """Note what has arrived; pooch calls this after each chunk, with the size of a chunk."""
        done = self._path.stat().st_size
        if done > self._most:
            raise _SourceError(f"it sends more than the expected {self._most} bytes")
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _INTERVAL_SECONDS
            self._report(done)

    def reset(self) -> None:
        """Nothing; pooch calls it at the end, as it does ``close``."""

    close = reset

    def _reason(self, error: Exception) -> str:
        """The reason for a failure."""
        text, response = str(error), getattr(error, "response", None)
        if isinstance(error, _WrongFileError):
            return text
        if response is not None:
            return f"the server answered {response.status_code} {response.reason or ''}".rstrip()
        if isinstance(error, exceptions.ReadTimeout) or "Read timed out" in text:
            return f"no bytes for {counted(f'{self._timeout:g}', 'second')}"
        if isinstance(error, exceptions.ChunkedEncodingError) or "aborted" in text:
            return "the connection broke off"
        if isinstance(error, exceptions.SSLError):
            return "its certificate was not accepted"
        if isinstance(error, exceptions.ProxyError):
            return "the proxy cannot be reached or refused"
        if isinstance(error, ValueError):
            return "it is not a usable URL, or the proxy's is not"
        return "the host cannot be reached"


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
