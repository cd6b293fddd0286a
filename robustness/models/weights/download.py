"""Downloads published weights: whole and verified, or not at all."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from robustness.base import settings
from robustness.base.disk import alone, occupied, write_whole
from robustness.base.errors import DownloadError, UnknownNameError
from robustness.base.text import in_bytes
from robustness.models.model_record import REGISTRY, ModelRecord, Weights
from robustness.models.weights.digests import SUMS, file_digest, fresh_digest, sums, sums_text
from robustness.models.weights.fetch import Hosts, Meter, Progress, SourceError
from robustness.models.weights.ready import fault, find_whole, size, size_text

TIMEOUT_SECONDS = 20.0
"""Longest wait for the next bytes, not for the whole file; the setting ``download_timeout``."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a full disk or quota, or of a process that may write no more."""

_SHA256 = "sha256:"
_CHUNK = 1 << 20

Get = Callable[[str, Path], None]
"""Fills a file with the source's file of a given name."""


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


def leftovers(path: Path) -> tuple[Path, ...]:
    """Leftovers of interrupted or damaged downloads beside ``path``."""
    return tuple(p for p in (_part(path), _aside(path)) if os.path.exists(p))


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
            while chunk := source.read(_CHUNK):
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
    """What the file system refuses, as a sentence."""
    if error.errno in _FULL:
        return DownloadError(
            f"There is no room for {record.name}, {size_text(record)}, in {target.parent} "
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
    kept = "Finished files are kept" if occupied(part) else "Nothing was kept"
    return DownloadError(
        f"The weights of {record.name}, {size_text(record)}, could not be fetched: {failures}. "
        f"{kept}: try again, or name a folder or a mirror that has them "
        f"({settings.WEIGHTS_DIR.variable}, {settings.WEIGHTS_MIRROR.variable})."
    )
