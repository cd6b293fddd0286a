"""Fetches published weights to where they are looked for: whole and verified, or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from robustness.base import settings
from robustness.base.errors import DownloadError, ParameterError
from robustness.models.fetching.arrival import Arrival, FileArrival, PresetArrival
from robustness.models.fetching.exclusive import exclusive
from robustness.models.fetching.meter import Meter, Progress
from robustness.models.fetching.replies import SourceError
from robustness.models.fetching.sources import FULL, Source
from robustness.models.model_record import ModelRecord, Preset, PublishedFile
from robustness.models.places import final_name, places, without_password
from robustness.models.weights import is_whole, megabytes, published, size, size_text, whole

TIMEOUT_SECONDS = 20.0
"""Longest wait for the next bytes, not for the whole file; the setting ``download_timeout``."""

_LONGEST_SHOWN = 80
"""Characters of a mirror's URL in a message."""


def download(name: str, progress: Progress | None = None, to: Path | None = None) -> Path:
    """Fetches the weights of the model ``name`` unless they are there already; returns the path.

    With ``to`` they come into that folder, which then serves as ``weights_dir`` or, over HTTP, as
    ``weights_mirror``; what is on this machine already is copied. What arrives gets its final name
    once it is complete and right, and what an interruption leaves is continued the next time. Of
    several callers at once one fetches and the others wait.

    Raises ``UnknownNameError`` for a model without a downloadable file, ``ParameterError`` for a
    setting that means nothing, ``DownloadError`` when it fails, and whatever ``progress`` raises.
    """
    record, weights = published(name)
    target = places(weights)[-1] if to is None else to / final_name(weights)
    if is_whole(weights, target):
        return target
    present = whole(weights)
    if present is not None and to is None:
        return present
    sources = [Source.local(present)] if present else _sources(weights)
    timeout = _timeout()
    expected = size(record) or 0
    meter = Meter(progress, expected, several=isinstance(weights, Preset))
    with _told(record, target, to), contextlib.ExitStack() as stack:
        target.parent.mkdir(parents=True, exist_ok=True)
        arrival = _arrival(record, weights, target)
        stack.enter_context(exclusive(target, lambda: meter.at(arrival.arrived())))
        if not is_whole(weights, target):  # else another one fetched it while this one waited
            _check_room(record, target, expected - arrival.arrived())
            _set_aside(target)
            try:
                arrival.bring(sources, meter, timeout)
            except SourceError as error:
                raise _failed(record, sources, arrival) from error
            finally:
                if not arrival.arrived():
                    remove(arrival.part)
            arrival.finish(target)
            remove(_aside(target))
            meter.finish()
    return target


def leftovers(path: Path) -> tuple[Path, ...]:
    """What an interrupted or a damaged download has left beside the final place ``path``."""
    return tuple(p for p in (_part(path), _aside(path)) if os.path.exists(p))


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _aside(target: Path) -> Path:
    return target.with_name(f"{target.name}.damaged")


def _arrival(record: ModelRecord, weights: PublishedFile | Preset, target: Path) -> Arrival:
    limit = math.ceil(1.5 * (size(record) or 1 << 30))
    if isinstance(weights, Preset):
        return PresetArrival(weights, _part(target), limit)
    return FileArrival(weights, _part(target), limit)


def _sources(weights: PublishedFile | Preset) -> list[Source]:
    """Where ``weights`` are asked for, first to last: the mirror if one is set, the official host.

    A folder that is set is among the places in which they are looked for before.
    """
    if isinstance(weights, Preset):
        official = Source(str(urlsplit(weights.url("")).hostname), weights.url)
    else:
        url = weights.url
        official = Source(str(urlsplit(url).hostname), lambda _: url)
    mirror = settings.text(settings.WEIGHTS_MIRROR)
    if not mirror:
        return [official]
    base = mirror.rstrip("/")
    below = f"{base}/{weights.name}" if isinstance(weights, Preset) else base
    shown = without_password(base)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}…"
    return [Source(shown, lambda file: f"{below}/{file}", has_sums=True), official]


def _timeout() -> float:
    given = settings.text(settings.DOWNLOAD_TIMEOUT)
    try:
        seconds = float(given) if given else TIMEOUT_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 86_400:
        raise ParameterError(
            f"The setting 'download_timeout' is a time in seconds: expected a number above 0 and "
            f"below 86400, got {given!r}."
        )
    return seconds


def _set_aside(target: Path) -> None:
    """Has nothing wrong lie under the final name, even if fetching it anew fails."""
    if target.exists():
        remove(_aside(target))
        os.replace(target, _aside(target))


def remove(path: Path) -> None:
    """Deletes the file or folder ``path`` if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_room(record: ModelRecord, target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise DownloadError(
            f"{record.name} still needs {megabytes(needed)} in {target.parent}, where "
            f"{megabytes(free)} are free: make room there, or choose another folder."
        )


@contextlib.contextmanager
def _told(record: ModelRecord, target: Path, to: Path | None) -> Iterator[None]:
    """Turns what the file system refuses into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DownloadError(
                f"There is no room for {record.name}, {size_text(record)}, in {target.parent} "
                f"({error.strerror}). What had arrived was removed: make room there, or choose "
                "another folder."
            ) from error
        variable = settings.CACHE.variable if isinstance(record.weights, Preset) else "KERAS_HOME"
        remedy = "with --to" if to else f"with {variable}"
        raise DownloadError(
            f"The weights of {record.name} cannot be kept in {target.parent}: "
            f"{error.strerror or type(error).__name__}. Make it writable, or choose another "
            f"folder {remedy}."
        ) from error


def _failed(record: ModelRecord, sources: list[Source], arrival: Arrival) -> DownloadError:
    reasons = "; ".join(f"{source.shown} ({source.failure})" for source in sources)
    kept = (
        "What has arrived is kept and continued next time"
        if arrival.arrived()
        else "Nothing was kept"
    )
    return DownloadError(
        f"The weights of {record.name}, {size_text(record)}, could not be fetched: {reasons}. "
        f"{kept}: try again, or name a folder or a mirror that has them "
        f"({settings.WEIGHTS_DIR.variable}, {settings.WEIGHTS_MIRROR.variable})."
    )
