"""What a bar says of the time left: nothing too early, and nothing by what was there already."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from robustness.base.turns import Pace
from robustness.ui import jobs as work
from robustness.ui.jobs import Show, Work, begin
from robustness.ui.session import ERRORS


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(work, "Pace", partial(Pace, clock=clock))
    monkeypatch.setattr(work, "session", lambda: "somebody")
    return clock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """The shares and texts that bars have shown from now on."""
    shown: list[tuple[float, str]] = []

    @contextmanager
    def bar(*_: object) -> Iterator[Show]:
        yield lambda share, text: shown.append((share, text))

    monkeypatch.setattr(Work, "bar", bar)
    return shown


def worked(clock: Clock, seconds: Sequence[float]) -> Iterator[float]:
    """Items that take so many ``seconds`` each."""
    for each in seconds:
        clock.now += each
        yield each


def test_the_time_left_is_that_of_the_steps_so_far(
    clock: Clock, said: list[tuple[float, str]]
) -> None:
    steps = worked(clock, [9] * 34)
    assert len(list(Work("Work", "any").with_progress(steps, 34))) == 34
    texts = [text for _, text in said]
    assert not any("left" in text for text in texts[:3]), "too few to tell"
    assert texts[3] == "Work: 4 of 34, 4 min 30 s left"
    assert texts[20] == "Work: 21 of 34, 1 min 57 s left"
    assert [share for share, _ in said[:2]] == pytest.approx([1 / 34, 2 / 34])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_background_work_runs_once_at_a_time_and_its_error_is_counted() -> None:
    ERRORS.clear()
    goes_on, calls = threading.Event(), [0]

    def work() -> None:
        calls.append(1)
        goes_on.wait(10)

    first = begin("of a test", work)
    assert begin("of a test", lambda: calls.append(2)) is first
    goes_on.set()
    first.join(10)
    begin("of a test", lambda: 1 / 0).join(10)
    assert calls == [0, 1]
    (counted,) = ERRORS.collect()
    assert {sample.labels["type"] for sample in counted.samples} == {"ZeroDivisionError"}
