"""An amount of something that is shared: by threads in the order of asking, and by processes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.02


class NoTurnError(Exception):
    """Others were at it until it was too late."""


class Turns:
    """Shares out ``total``; who asks for more than is free waits, and so do all who come after."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int, deadline: float | None) -> Iterator[None]:
        """Holds ``amount``, at most the total.

        Raises ``NoTurnError`` where it is not to be had until ``deadline`` (of ``time.monotonic``;
        None for ever).
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                mine = self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and self._free >= amount,
                    seconds_until(deadline),
                )
                if not mine:
                    raise NoTurnError
                self._free -= amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()  # the next may find enough as well
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


class SharedParts:
    """Equal parts of an amount that the processes of a user share, as locks on files in ``folder``.

    What a process holds that is killed is free. Where no files can be kept there, each process has
    all parts to itself.
    """

    def __init__(self, folder: Path, parts: int) -> None:
        self._folder = folder
        self._parts = parts

    @contextmanager
    def taken(self, parts: int, deadline: float | None) -> Iterator[None]:
        """Holds ``parts``; one process or thread waits for them at a time, in any order.

        Raises ``NoTurnError`` where they are not to be had until ``deadline``, as ``Turns`` does.
        """
        with ExitStack() as held:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._take(parts, deadline, held)
            except Timeout as error:
                raise NoTurnError from error
            except OSError:
                held.close()
            yield

    def _take(self, parts: int, deadline: float | None, held: ExitStack) -> None:
        wait = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        with FileLock(self._folder / "turn", timeout=wait, poll_interval=_POLL_SECONDS):
            free = [FileLock(self._folder / f"part-{n}", timeout=0) for n in range(self._parts)]
            while True:
                for lock in list(free):
                    with suppress(Timeout):
                        held.enter_context(lock)
                        free.remove(lock)
                        parts -= 1
                    if parts <= 0:
                        return
                if deadline is not None and time.monotonic() >= deadline:
                    raise NoTurnError
                time.sleep(_POLL_SECONDS)


def seconds_until(deadline: float | None) -> float | None:
    """Seconds until ``deadline``, of ``time.monotonic``: a moment at least; None for ever."""
    return None if deadline is None else max(1e-3, deadline - time.monotonic())
