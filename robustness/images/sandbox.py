"""Study images of untrusted files, decoded in processes with limits on memory and time.

The setting ``decode_memory`` limits the memory of a server and its jobs: small images have a fixed
share in each process, and one large image at a time, judged by its header, has the rest. Small
images never wait for large ones.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

from robustness.base import settings
from robustness.base.errors import ImageError
from robustness.base.workers import (
    WorkerDiedError,
    WorkerLateError,
    Workers,
    WorkerTimeError,
    seconds_until,
)
from robustness.images.decoding import MAX_PIXELS, as_subject
from robustness.images.decoding_process import NEEDS, PIXELS
from robustness.images.framing import STUDY_FRAMING, FramedPixels, Framing, check_framing
from robustness.images.pixels import from_uint8
from robustness.images.properties import PropertyValues

DEFAULT_MEMORY = 800 * 10**6
"""Default bytes of ``decode_memory``: keeps a shared server below two gigabytes. Camera images fit;
the largest images of the most demanding formats do not."""

SMALL = 48 * 2**20
"""Bytes that each process may always use: enough for a JPEG of 2 megapixels."""

SECONDS = 30
"""Longest decoding time in seconds; the slowest images of 65 megapixels take 10."""

PATIENCE = 60.0
"""Longest wait in seconds while a user is waiting."""

PROCESSES = max(2, min(4, os.cpu_count() or 1))


class BusyError(ImageError):
    """The image was not decoded in time because of others; it may be valid."""


_WORKERS = Workers("robustness.images.decoding_process", PROCESSES)
_LARGE = threading.Lock()
atexit.register(_WORKERS.end)


class MeasuredPixels(NamedTuple):
    """An image in several framings, and its ``properties``."""

    framed: FramedPixels
    properties: PropertyValues


def untrusted_image(
    data: bytes,
    framing: Framing = STUDY_FRAMING,
    *,
    name: str = "the image",
    patience: float | None = PATIENCE,
) -> NDArray[np.float32]:
    """The same as ``study_image``, to the bit, decoded in a limited process.

    The options are those of ``framed_image``, and so are the errors.
    """
    return from_uint8(framed_image(data, [framing], name=name, patience=patience).pixels[0])


def framed_image(
    data: bytes,
    framings: Sequence[Framing],
    *,
    name: str = "the image",
    study: Framing = STUDY_FRAMING,
    patience: float | None = PATIENCE,
    pixels: int = MAX_PIXELS,
) -> FramedPixels:
    """The image in ``data`` in each of ``framings``, decoded once.

    ``study`` is the framing whose pixels seed random streams, as in ``framing.frame``.
    ``patience`` is the longest wait in seconds, None for no limit; ``pixels`` is the most that the
    image may have. Raises what ``check_framing`` and ``decode`` raise, ``ImageError`` also for an
    image that takes too much memory or time or crashes its decoder, and ``BusyError`` if there was
    no time to find out.
    """
    measured = measured_image(
        data, framings, name=name, study=study, patience=patience, pixels=pixels, properties=False
    )
    return measured.framed


def measured_image(
    data: bytes,
    framings: Sequence[Framing],
    *,
    name: str = "the image",
    study: Framing = STUDY_FRAMING,
    patience: float | None = PATIENCE,
    pixels: int = MAX_PIXELS,
    properties: bool = True,
) -> MeasuredPixels:
    """The same as ``framed_image``, with the properties of the image if ``properties``."""
    request = {
        "name": name,
        "pixels": pixels,
        "properties": properties,
        "study": study.as_dict(),
        "framings": [check_framing(framing).as_dict() for framing in framings],
    }
    reply = _reply(request, data, patience)
    start = reply.index(b"\n") + 1
    about = json.loads(reply[len(PIXELS) : start])
    arrays = []
    for framing in framings:
        side = framing.side
        byte_count = 3 * side**2
        levels = np.frombuffer(reply, np.uint8, byte_count, offset=start)
        arrays.append(levels.reshape(side, side, 3))
        start += byte_count
    framed = FramedPixels(about["source"], about["stream"], tuple(arrays))
    return MeasuredPixels(framed, about["properties"])


def _reply(request: dict[str, Any], data: bytes, patience: float | None) -> bytes:
    """A worker's reply with the pixels; raises as ``framed_image`` does."""
    name = request["name"]
    deadline = None
    if patience is not None:
        deadline = time.monotonic() + patience
    try:
        reply = _ask_worker(request, data, SMALL, deadline)
        if reply.startswith(NEEDS):
            needed = int(reply.removeprefix(NEEDS))
            reply = _decode_large(request, data, needed, deadline)
    except WorkerLateError as error:
        raise BusyError(
            f"{as_subject(name)} was not decoded within {patience:.0f} s because the server is "
            "busy; try again in a moment."
        ) from error
    except WorkerTimeError as error:
        raise ImageError(
            f"{as_subject(name)} takes too long to decode: expected at most {SECONDS} s of work; "
            "save a smaller copy as PNG or JPEG."
        ) from error
    except WorkerDiedError as error:
        raise ImageError(
            f"{as_subject(name)} broke its decoder: expected a sound image; export it anew as "
            "PNG or JPEG."
        ) from error
    if not reply.startswith(PIXELS):
        sentence = reply[1:].decode("utf-8", "replace")
        raise ImageError(sentence)
    return reply


def _decode_large(
    request: dict[str, Any], data: bytes, needed: int, deadline: float | None
) -> bytes:
    """The reply for an image that may take ``needed`` bytes of memory; one at a time.

    Raises ``ImageError`` where these are more than there is, and not enough.
    """
    most = max(SMALL, memory() - PROCESSES * SMALL)
    granted = min(needed, most)
    with _only_large_one(deadline):
        # The system's limit on the process holds, without an estimate: the header, by which
        # ``needed`` was estimated, may exaggerate.
        reply = _ask_worker(request, data, granted, deadline, estimates=False)
    if granted < needed and not reply.startswith(PIXELS):
        raise ImageError(
            f"{as_subject(request['name'])} needs too much memory to decode: expected at most "
            f"{most / 1e6:,.0f} MB, got up to {needed / 1e6:,.0f}; save a smaller copy."
        )
    return reply


@contextmanager
def _only_large_one(deadline: float | None) -> Iterator[None]:
    """A lock over all threads and processes of this user with the same cache folder.

    If no file can be written there, it covers the threads of this process.
    """
    wait = seconds_until(deadline)
    if wait is None:
        wait = -1  # without a limit
    if not _LARGE.acquire(timeout=wait):
        raise WorkerLateError
    lock: BaseFileLock | None = None
    try:
        try:
            folder = settings.cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "decoding.lock", timeout=-1, poll_interval=0.02)
            lock.acquire(timeout=seconds_until(deadline))
        except Timeout as error:
            raise WorkerLateError from error
        except OSError:
            lock = None
        yield
    finally:
        if lock is not None:
            lock.release()
        _LARGE.release()


def _ask_worker(
    request: dict[str, Any],
    data: bytes,
    memory: int,
    deadline: float | None,
    *,
    estimates: bool = True,
) -> bytes:
    """The reply of a process that may take ``memory`` bytes.

    It ``estimates`` what the image takes before it decodes, and asks for more in place of an
    image.
    """
    allowed = memory if estimates else None
    head = json.dumps({**request, "allowed": allowed}).encode()
    digest = hashlib.sha256(data).digest()
    return _WORKERS.ask(head, data, memory=memory, seconds=SECONDS, deadline=deadline, file=digest)


def memory() -> int:
    """Bytes that decoding may use at once, by the setting.

    Raises ``ParameterError`` for a setting that is not a size.
    """
    return settings.value(settings.DECODE_MEMORY) or DEFAULT_MEMORY
