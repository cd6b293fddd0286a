"""One process with limits for all files of these tests: to start one takes a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from robustness.base.limited_worker import Worker
from robustness.models.graph_files import examine


class _Shared:
    """Stands in for ``Worker``; begun anew where a file has ended the process."""

    worker: Worker | None = None

    def __init__(self, module: str) -> None:
        if _Shared.worker is None:
            _Shared.worker = Worker(module)

    def ask(self, *args: Any, **limits: Any) -> bytes:
        worker, _Shared.worker = _Shared.worker, None
        assert worker is not None
        found = worker.ask(*args, **limits)
        _Shared.worker = worker
        return found

    def end(self) -> None:
        pass


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "Worker", _Shared)


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    if _Shared.worker is not None:
        _Shared.worker.end()
        _Shared.worker = None
