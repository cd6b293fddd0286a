"""Study images of files from strangers, decoded in processes with limits on memory and time.

A server and its jobs share the setting ``decode_memory`` among all pictures that they decode at
once. The header says how much one may take; while there is not so much, it waits in the order of
asking. What is small never waits for what is large: a frame of the camera has a process and memory
of its own.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import time
from functools import cache

import numpy as np
from numpy.typing import NDArray

from robustness.base import settings
from robustness.base.errors import ImageError
from robustness.base.limited_worker import (
    WorkerDiedError,
    WorkerLateError,
    Workers,
    WorkerTimeError,
)
from robustness.base.turns import NoTurnError, SharedParts, Turns
from robustness.pictures.decoder import NEEDS, PIXELS
from robustness.pictures.decoding import as_subject
from robustness.pictures.eight_bits import from_uint8
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE, check_fit, check_side

DEFAULT_MEMORY = 800 * 10**6
"""Bytes of the setting ``decode_memory``: a shared server stays below two gigabytes with it, and
cameras' pictures fit; the largest of the hungriest formats do not."""

SMALL = 48 * 2**20
"""Bytes with which each process may decode without a look at the others: a JPEG of 2 megapixels."""

SECONDS = 30
"""Of work on one picture: the slowest of 65 megapixels take 10."""

PATIENCE = 60.0
"""Seconds that somebody waits for a picture who sits in front of it."""

_PARTS = 16
"""In which the budget is shared with other processes that evaluate here: a server has its jobs."""

PROCESSES = max(2, min(4, os.cpu_count() or 1))


class BusyError(ImageError):
    """There was no turn for the picture, or it came too late: it may be a good one."""


_WORKERS = Workers("robustness.pictures.decoder", PROCESSES)
_LARGE = Turns(PROCESSES - 1)
atexit.register(_WORKERS.end)


def study_image(
    data: bytes,
    *,
    name: str = "the picture",
    fit: str = DEFAULT_FIT,
    side: int = STUDY_SIDE,
    patience: float | None = PATIENCE,
) -> NDArray[np.float32]:
    """As ``fitting.study_image``, to the bit, with one picture's harm kept from all else.

    ``patience`` is how many seconds it may take, waiting included; None for any. Raises
    ``ImageError`` also for what takes too much memory or time and for what breaks its decoder.
    """
    check_fit(fit), check_side(side)
    deadline = None if patience is None else time.monotonic() + patience
    asked = {"name": name, "fit": fit, "side": side}
    try:
        answer = _asked(asked, data, SMALL, deadline)
        if answer.startswith(NEEDS):
            answer = _large(asked, data, int(answer.removeprefix(NEEDS)), deadline)
    except (NoTurnError, WorkerLateError) as error:
        raise BusyError(
            f"{as_subject(name)} was not decoded within {patience:.0f} s, as much else is to be "
            "done; try again in a moment."
        ) from error
    except WorkerTimeError as error:
        raise ImageError(
            f"{as_subject(name)} takes too long to decode: expected at most {SECONDS} s of work; "
            "save a smaller copy as PNG or JPEG."
        ) from error
    except WorkerDiedError as error:
        raise ImageError(
            f"{as_subject(name)} broke its decoder: expected a sound picture; export it anew as "
            "PNG or JPEG."
        ) from error
    if not answer.startswith(PIXELS):
        raise ImageError(answer[1:].decode("utf-8", "replace"))
    return from_uint8(np.frombuffer(answer, np.uint8, offset=1).reshape(side, side, 3))


def _large(asked: dict[str, object], data: bytes, needed: int, deadline: float | None) -> bytes:
    """The answer for a picture that may take ``needed`` bytes, in its turn."""
    total = max(SMALL, memory() - PROCESSES * SMALL)
    granted = min(needed, total)  # its header may exaggerate
    parts = math.ceil(_PARTS * granted / total)
    everybody = SharedParts(settings.cache_folder() / "decoding", _PARTS)
    with (
        _LARGE.taken(1, deadline),
        _shared(total).taken(granted, deadline),
        everybody.taken(parts, deadline),
    ):
        answer = _asked(asked, data, granted, deadline, allowed=None)
    if granted < needed and not answer.startswith(PIXELS):
        raise ImageError(
            f"{as_subject(str(asked['name']))} cannot be decoded in the memory that there is for "
            f"it: expected a picture that takes at most {total / 1e6:,.0f} MB, and this one may "
            f"take {needed / 1e6:,.0f}; save a smaller copy."
        )
    return answer


def _asked(
    asked: dict[str, object], data: bytes, memory: int, deadline: float | None, **other: object
) -> bytes:
    head = json.dumps({**asked, "allowed": memory, **other}).encode()
    return _WORKERS.ask(head, data, memory=memory, seconds=SECONDS, deadline=deadline)


def memory() -> int:
    """Bytes that the decoding of pictures may take at once, by the setting.

    Raises ``ParameterError`` for a setting that is no size.
    """
    return settings.size(settings.DECODE_MEMORY) or DEFAULT_MEMORY


@cache
def _shared(total: int) -> Turns:
    return Turns(total)
