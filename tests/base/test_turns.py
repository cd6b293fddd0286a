"""Round robin of forward passes: newest wishes only, long work behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from robustness.base import turns
from robustness.base.turns import SupersededError, Turns


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work waits for as long as a test takes."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 240.0)


class Line:
    """A queue with one turn, which this test holds until ``go``."""

    def __init__(self) -> None:
        self.turns = Turns(1)
        self.had: list[str] = []
        self._pool = ThreadPoolExecutor(16)
        self._go = threading.Event()
        self.join("nobody", self.turns.wish("nobody"), self._go.wait, waits=False)
        while self.turns._free:
            time.sleep(0.001)

    def join(
        self,
        who: str,
        wish: int | None,
        does: Callable[[], object] = lambda: None,
        *,
        waits: bool = True,
    ) -> Future[None]:
        """Queues ``who`` and records when they get their turn."""
        length = len(self.turns._line)

        def take() -> None:
            with self.turns.turn(who, wish):
                self.had.append(who)
                does()

        future = self._pool.submit(take)
        while waits and len(self.turns._line) == length:
            assert not future.done()
            time.sleep(0.001)
        return future

    def go(self) -> list[str]:
        """Releases the turn; returns who had one, in order."""
        self._go.set()
        self._pool.shutdown()
        return self.had[1:]


def test_everyone_gets_one_turn_before_anyone_gets_two() -> None:
    line = Line()
    wishes = {who: line.turns.wish(who) for who in "abc"}
    for who in "aaabbc":
        line.join(who, wishes[who])
    assert line.go() == ["a", "b", "c", "a", "b", "a"]


def test_a_superseded_wish_gets_no_turn() -> None:
    line = Line()
    old, other = line.turns.wish("a"), line.turns.wish("b")
    dropped = [line.join("a", old) for _ in range(3)]
    kept = line.join("b", other)
    new = line.turns.wish("a")
    for future in dropped:
        with pytest.raises(SupersededError):
            future.result(240)
    late = line.join("a", new)
    with pytest.raises(SupersededError), line.turns.turn("a", old):
        pass
    assert line.go() == ["b", "a"]
    assert kept.result() is late.result() is None


def test_long_work_waits_behind_and_is_not_superseded() -> None:
    line = Line()
    long = line.join("a", None)
    wish = line.turns.wish("b")
    for _ in range(3):
        line.join("b", wish)
    line.turns.wish("a")
    assert line.go() == ["b", "b", "b", "a"]
    assert long.result() is None


def test_long_work_never_holds_all_turns() -> None:
    turns = Turns(4)
    release, held = threading.Event(), []

    def hold(who: str) -> None:
        with turns.turn(who):
            held.append(who)
            release.wait()

    with ThreadPoolExecutor() as pool:
        for who in "abcd":
            pool.submit(hold, who)
        while len(held) < 2 or len(turns._line) < 2:
            time.sleep(0.001)
        with turns.turn("e", turns.wish("e")):
            assert len(held) == 2
        release.set()
    assert sorted(held) == ["a", "b", "c", "d"]


def test_idle_work_waits_for_everybody_and_leaves_a_turn_free() -> None:
    turns = Turns(2)
    release, held = threading.Event(), []

    def hold(who: str, *, idle: bool = False) -> None:
        with turns.turn(who, idle=idle):
            held.append(who)
            release.wait(60)

    with ThreadPoolExecutor() as pool:
        pool.submit(hold, "long")
        while not held:
            time.sleep(0.001)
        idle = pool.submit(hold, "idle", idle=True)
        with turns.turn("verdict", turns.wish("verdict")):
            assert held == ["long"]
        time.sleep(0.01)
        assert held == ["long"], "one turn is free, but it stays so for the next verdict"
        release.set()
        idle.result(60)
    assert held == ["long", "idle"]


def test_parts_of_long_work_keep_their_order_and_release_the_turn() -> None:
    turns = Turns(1)
    assert list(turns.in_parts(range(5), "a")) == [0, 1, 2, 3, 4]

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        list(turns.in_parts(broken(), "a"))
    with turns.turn("b", turns.wish("b")):
        pass
