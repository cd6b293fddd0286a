"""How far a download is, told to whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the bytes that have arrived and the bytes expected; may raise to stop.

It is called about ten times a second, also while nothing arrives, and may go back where a source
has to begin anew. The bytes expected are 0 where they are not known.
"""

INTERVAL_SECONDS = 0.1


class Meter:
    """Passes on how far a download is: the first time, the last, and not too often between.

    ``expected`` are all its bytes, as far as known beforehand.
    """

    def __init__(self, progress: Progress | None, expected: int) -> None:
        self._progress = progress
        self._expected = expected
        self._finished = 0
        self._seen = (0, expected)
        self._next = 0.0

    def at(self, done: int, total: int | None = None) -> None:
        """The file that is under way is at ``done`` of ``total`` bytes."""
        done += self._finished
        known = max(self._expected, self._finished + total if total else 0)
        self._seen = (done, max(done, known) if known else 0)
        self.poll()

    def file_done(self, size: int) -> None:
        """A file of ``size`` bytes is there; what follows is the next one's."""
        self._finished += size
        self.at(0)

    def poll(self) -> None:
        """To be called while waiting: says the same again, so that it can be stopped."""
        now = time.monotonic()
        if self._progress is not None and now >= self._next:
            self._next = now + INTERVAL_SECONDS
            self._progress(*self._seen)

    def wait(self, seconds: float) -> None:
        """Lets ``seconds`` pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.poll()
            time.sleep(min(left, INTERVAL_SECONDS))

    def finish(self) -> None:
        """All is there."""
        if self._progress is not None:
            self._progress(self._finished, self._finished)
