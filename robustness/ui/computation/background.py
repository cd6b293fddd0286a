"""Work of the server in threads of its own, which no page waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from robustness.ui.server.counters import note_error

_RUNNING: dict[str, threading.Thread] = {}

_CHANGING = threading.Lock()
"""Guards ``_RUNNING``."""


def begin(name: str, work: Callable[[], object]) -> threading.Thread:
    """Start ``work`` in a thread called ``name``, unless one of this name runs; return the thread.

    An unexpected error is counted and logged. The end of the server does not wait for the thread.
    """

    def run() -> None:
        try:
            work()
        except Exception as error:
            note_error(error)
            raise
        finally:
            with _CHANGING:
                del _RUNNING[name]

    with _CHANGING:
        if name not in _RUNNING:
            _RUNNING[name] = threading.Thread(target=run, name=name, daemon=True)
            _RUNNING[name].start()
        return _RUNNING[name]
