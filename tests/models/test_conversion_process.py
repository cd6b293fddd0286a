"""Models converted by another process: begun once for all who wait, and none waits in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.models import conversion_process
from robustness.models.conversion_process import Apart
from robustness.models.inference.kept import place
from tests.conftest import OFFLINE_NAMES

SIDE = 40


class Made:
    """Stands for the process that converts: ``work`` goes on beside, with the command's names."""

    def __init__(self, work: Callable[[list[str]], None]) -> None:
        self.begun: list[list[str]] = []
        self._work = work

    def __call__(self, command: list[str], **_: Any) -> Any:
        assert command[1:5] == ["-m", "robustness", "models", "convert"]
        assert command[5] == f"--side={SIDE}"
        names = command[6:]
        self.begun.append(names)
        running = threading.Thread(target=self._work, args=[names])
        running.start()

        class Process:
            ended = False

            def poll(self) -> int | None:
                return None if running.is_alive() and not self.ended else 0

            def terminate(self) -> None:
                self.ended = True

        return Process()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    return tmp_path


def keep(names: list[str]) -> None:
    for name in names:
        time.sleep(0.02)
        record = models.REGISTRY[name]
        file = place(record, models.digest(record), SIDE)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def is_kept(name: str) -> bool:
    record = models.REGISTRY[name]
    return place(record, models.digest(record), SIDE).exists()


def test_one_process_converts_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made, converter = Made(keep), Apart()
    monkeypatch.setattr(conversion_process.subprocess, "Popen", made)

    def wait(name: str) -> bool:
        converter.convert(models.REGISTRY[name], SIDE)
        return is_kept(name)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(wait, OFFLINE_NAMES))
    assert len(made.begun) == 1
    assert sorted(made.begun[0]) == sorted(OFFLINE_NAMES), "the defaults come along"
    converter.convert(models.REGISTRY[OFFLINE_NAMES[0]], SIDE)
    assert len(made.begun) == 1, "what is kept is not converted again"


def test_who_waits_for_a_process_that_fails_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(lambda names: None)
    monkeypatch.setattr(conversion_process.subprocess, "Popen", made)
    Apart().convert(models.REGISTRY[OFFLINE_NAMES[0]], SIDE)
    assert len(made.begun) == 1
    assert not is_kept(OFFLINE_NAMES[0])


def test_nobody_waits_for_a_server_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(_: list[str]) -> None:
        begun.set()
        assert go_on.wait(240)

    monkeypatch.setattr(conversion_process.subprocess, "Popen", Made(slow))
    converter, record = Apart(), models.REGISTRY[OFFLINE_NAMES[0]]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(converter.convert, record, SIDE)
        assert begun.wait(240)
        converter.stop()
        with pytest.raises(WeightsError, match="the server is ending"):
            waiting.result(240)
    go_on.set()
    with pytest.raises(WeightsError, match="the server is ending"):
        converter.convert(record, SIDE)
