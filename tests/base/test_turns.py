"""Shares of an amount: never more than there is, in the order of asking."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from robustness.base.turns import NoTurnError, SharedParts, Turns
from tests.support.places import ROOT


def started(turns: Turns, amount: int, does: Callable[[], object]) -> threading.Thread:
    """A thread that waits for ``amount`` by now, and then ``does`` something with it."""

    def take() -> None:
        with turns.taken(amount, None):
            does()

    before = len(turns._waiting)
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    while len(turns._waiting) == before:
        time.sleep(0.001)
    return thread


def test_who_asks_first_is_served_first_even_for_more() -> None:
    turns = Turns(4)
    served: list[int] = []
    with turns.taken(2, None):
        threads = [started(turns, amount, partial(served.append, amount)) for amount in (4, 1, 3)]
        assert served == [], "1 would fit, and does not overtake 4"
    for thread in threads:
        thread.join(10)
    assert served[0] == 4
    assert sorted(served) == [1, 3, 4]


def test_no_more_is_held_at_once_than_there_is() -> None:
    turns, lock = Turns(5), threading.Lock()
    held, most = 0, 0

    def hold(amount: int) -> None:
        nonlocal held, most
        for _ in range(50):
            with turns.taken(amount, None):
                with lock:
                    held += amount
                    most = max(most, held)
                time.sleep(0)
                with lock:
                    held -= amount

    threads = [threading.Thread(target=hold, args=(amount,)) for amount in (1, 2, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < most <= 5
    assert held == 0


def test_who_gives_up_does_not_hold_up_the_others() -> None:
    turns = Turns(2)
    with turns.taken(1, None):
        with pytest.raises(NoTurnError), turns.taken(2, time.monotonic() + 0.01):
            pytest.fail("there was not so much")
        with turns.taken(1, time.monotonic() + 0.01):
            pass
    with pytest.raises(ZeroDivisionError), turns.taken(2, None):
        1 / 0  # noqa: B018
    with turns.taken(2, time.monotonic() + 0.01):
        pass


HOLD = """
import sys, time
from pathlib import Path
from robustness.base.turns import SharedParts
with SharedParts(Path(sys.argv[1]), 4).taken(3, None):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_processes_share_and_what_a_killed_one_held_is_free(tmp_path: Path) -> None:
    parts = SharedParts(tmp_path / "parts", 4)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "parts")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with parts.taken(1, time.monotonic() + 0.2):
            pass
        with pytest.raises(NoTurnError), parts.taken(2, time.monotonic() + 0.2):
            pytest.fail("there were not so many")
        with parts.taken(1, time.monotonic() + 0.2):
            pass
        other.kill()
    with (
        parts.taken(4, time.monotonic() + 30),
        pytest.raises(NoTurnError),
        parts.taken(1, time.monotonic() + 0.05),
    ):
        pytest.fail("this process holds them all")
    with parts.taken(4, time.monotonic() + 30):
        pass


def test_without_a_folder_for_them_a_process_has_all_parts_to_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with SharedParts(tmp_path / "file", 4).taken(4, time.monotonic() + 1):
        pass
