"""Several models asked at once: each comes as it answers, an error is one of the answers."""

from __future__ import annotations

import threading
from itertools import count

import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.models import loaded
from robustness.models.engine import PARALLEL_MODELS
from tests.conftest import OFFLINE_NAMES


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no models that others have loaded."""
    monkeypatch.setattr(loaded.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(loaded.LOADED, "names", lambda: ())


def test_they_come_as_they_answer() -> None:
    """The first waits until the second has come, so they are asked at the same time."""
    come = threading.Event()

    def ask(name: str) -> str:
        if name == OFFLINE_NAMES[0]:
            assert come.wait(240)
        return f"of {name}"

    found = []
    for name, answer in loaded.run_parallel(OFFLINE_NAMES[:2], ask):
        found.append((name, answer))
        come.set()
    assert found == [(name, f"of {name}") for name in reversed(OFFLINE_NAMES[:2])]


def test_in_turn_where_memory_does_not_hold_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(loaded.needed(models.REGISTRY[name]) for name in OFFLINE_NAMES)
    monkeypatch.setenv("ROBUSTNESS_MEMORY", str(2 * largest))
    asking = threading.Lock()

    def ask(name: str) -> str:
        assert asking.acquire(blocking=False), "another one is being asked"
        asking.release()
        return name

    names = [name for name, _ in loaded.run_parallel(OFFLINE_NAMES, ask)]
    assert names == list(OFFLINE_NAMES)


@pytest.mark.parametrize(("asked", "beside"), [(1, False), (2, True)])
def test_as_many_as_there_are_cores_leave_each_other_one(asked: int, beside: bool) -> None:
    found = dict(loaded.run_parallel(OFFLINE_NAMES[:asked], lambda _: PARALLEL_MODELS.get()))
    assert found == dict.fromkeys(OFFLINE_NAMES[:asked], beside)
    assert not PARALLEL_MODELS.get()


def test_an_error_of_one_leaves_the_others() -> None:
    def ask(name: str) -> str:
        if name == OFFLINE_NAMES[1]:
            raise WeightsError("lost")
        return name

    found = dict(loaded.run_parallel(OFFLINE_NAMES[:3], ask))
    assert str(found.pop(OFFLINE_NAMES[1])) == "lost"
    assert found == {name: name for name in (OFFLINE_NAMES[0], OFFLINE_NAMES[2])}


def test_who_stops_listening_asks_no_more() -> None:
    asked = []
    go_on, places = threading.Event(), count()

    def ask(name: str) -> str:
        asked.append(name)
        if next(places) > 0:  # all but one
            assert go_on.wait(240)
        return name

    listening = loaded.run_parallel(OFFLINE_NAMES, ask)
    next(listening)
    listening.close()
    go_on.set()
    assert len(asked) < len(OFFLINE_NAMES)
