"""Progress of a download."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the bytes received and the bytes expected (0 if unknown); may raise to cancel.

Called about ten times a second, even while nothing arrives. The bytes received may fall when a
source restarts.
"""

INTERVAL_SECONDS = 0.1


class Meter:
    """Reports progress at the start, at the end, and at intervals between.

    ``expected`` is the total number of bytes, as far as known.
    """

    def __init__(self, progress: Progress | None, expected: int) -> None:
        self._progress = progress
        self._expected = expected
        self._finished = 0
        self._seen = (0, expected)
        self._next = 0.0

    def at(self, done: int, total: int | None = None) -> None:
        """Notes that the current file is at ``done`` of ``total`` bytes."""
        done += self._finished
        known = max(self._expected, self._finished + total if total else 0)
        self._seen = (done, max(done, known) if known else 0)
        self.poll()

    def file_done(self, size: int) -> None:
        """Notes that a file of ``size`` bytes is complete; the next one follows."""
        self._finished += size
        self.at(0)

    def poll(self) -> None:
        """Repeats the last report; called while waiting, so that the caller can cancel."""
        now = time.monotonic()
        if self._progress is not None and now >= self._next:
            self._next = now + INTERVAL_SECONDS
            self._progress(*self._seen)

    def wait(self, seconds: float) -> None:
        """Waits ``seconds`` and keeps reporting."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.poll()
            time.sleep(min(left, INTERVAL_SECONDS))

    def finish(self) -> None:
        """Reports the end."""
        if self._progress is not None:
            self._progress(self._finished, self._finished)
