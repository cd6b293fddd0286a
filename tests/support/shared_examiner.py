"""One process with limits for all files of the tests: to start one takes a second."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from robustness.base.workers import Worker


class _Shared:
    """Replaces ``Worker``; restarted if a file has ended the process, or for settings that may be
    relative to another folder."""

    idle: ClassVar[dict[str, tuple[str, Worker]]] = {}

    def __init__(self, module: str) -> None:
        self._module = module

    def ask(self, head: bytes, data: bytes, **limits: Any) -> bytes:
        here = os.getcwd()
        folder, worker = _Shared.idle.pop(self._module, (here, None))
        if worker is not None and folder != here and b'"settings"' in head:
            worker.end()
            folder, worker = here, None
        worker = worker or Worker(self._module)
        found = worker.ask(head, data, **limits)
        _Shared.idle[self._module] = folder, worker
        return found

    def end(self) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def one_examiner() -> Iterator[None]:
    """Graphs and networks of Keras are checked by one process each.

    That of Keras stays, too: after a minute without work the next one would import TensorFlow anew.
    """
    if "robustness.models" not in sys.modules:  # as it is slow to import
        yield
        return
    from robustness.models import conversion

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion.KERAS_WORKERS, "_least", 1)
        patch.setattr(conversion, "Worker", _Shared)
        yield
    for _, worker in _Shared.idle.values():
        worker.end()
    _Shared.idle.clear()
