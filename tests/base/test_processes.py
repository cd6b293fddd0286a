"""A process of its own: how it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from robustness.base import processes


@pytest.fixture
def heeding() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    processes.heed_termination()
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_process_puts_things_in_order_however_often_it_is_told_to_end(heeding: None) -> None:
    done = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            done.append("more work")
        finally:
            signal.raise_signal(signal.SIGTERM)
            done.append("put in order")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["put in order"]
