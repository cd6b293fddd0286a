"""One process with limits for all files of a module of tests: to start one takes a second."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from robustness.base.limited_worker import Worker
from robustness.models import inspection_process
from robustness.models.graph_files import examine, examiner
from robustness.runs import import_checks


class _Shared:
    """Stands in for ``Worker``; begun anew where a file has ended the process."""

    idle: ClassVar[dict[str, Worker]] = {}

    def __init__(self, module: str) -> None:
        self._module = module

    def ask(self, *args: Any, **limits: Any) -> bytes:
        worker = _Shared.idle.pop(self._module, None) or Worker(self._module)
        found = worker.ask(*args, **limits)
        _Shared.idle[self._module] = worker
        return found

    def end(self) -> None:
        pass


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection_process, "Worker", _Shared)
    monkeypatch.setattr(import_checks, "Worker", _Shared)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's job is done here, where records are known that tests have made."""

    def inspection(path: Path, request: Mapping[str, Any], **_: Any) -> Any:
        question = {"path": str(path), **request}
        return json.loads(examiner.answer(json.dumps(question).encode(), b""))

    monkeypatch.setattr(examine, "inspection", inspection)


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    for worker in _Shared.idle.values():
        worker.end()
    _Shared.idle.clear()
