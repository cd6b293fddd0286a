"""Rates and times left, on a clock of the test's own."""

from __future__ import annotations

import pytest

from robustness.base.turns import MEGABYTES, Pace, Unit, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_bytes_with_rate_and_time_left() -> None:
    clock = Clock()
    pace = Pace(MEGABYTES, 102_967_424, clock)
    assert pace.text == "0.0 of 103 MB"
    pace.note(23_700_000)
    assert pace.text == "23.7 of 103 MB"
    clock.now += 2
    pace.note(34_100_000)
    assert pace.rate == pytest.approx(5.2e6)
    assert pace.text == "34.1 of 103 MB, 5.2 MB/s", "two steps tell nothing of the others"
    for _ in range(2):
        clock.now += 1
        pace.note(34_100_000)
    assert pace.text == "34.1 of 103 MB, 2.6 MB/s, 26 s left"
    clock.now += 1
    pace.note(102_967_424)
    assert pace.text == "103 of 103 MB, 15.9 MB/s"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    pace = Pace(Unit("images"), 1000, clock)
    for done in range(0, 200, 20):  # fast at first
        pace.note(done)
        clock.now += 1
    for done in range(200, 230):
        pace.note(done)
        clock.now += 1
    assert pace.rate == pytest.approx(1)
    assert pace.text == "229 of 1000 images, 1.0 images/s, 12 min 51 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3780, "1 h 3 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
