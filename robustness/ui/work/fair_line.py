"""Whose forward passes are next, of all sessions: one of everybody's in turn, and only the newest.

Passes of one session after those of another take as long as all at once, and each is answered
sooner. Long work of a page goes behind what somebody waits for at a slider.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st

Item = TypeVar("Item")

AT_ONCE = max(2, os.cpu_count() or 1)
"""Small passes leave cores idle that others can use: as many at once as ``together`` asks for."""

PATIENCE_SECONDS = 2.0
"""Long work that has waited so long has its turn as anybody does."""

_WHO = "takes turns as"


class SupersededError(Exception):
    """Nobody wants this any more: the same session has asked for something newer."""


@dataclass(eq=False)
class _Place:
    """In the line: of ``who``, for the ``wish``-th thing that they want."""

    who: str
    wish: int
    long: bool
    since: float
    granted: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False


class FairLine:
    """A line in which ``at_once`` at a time have their turn; safe between threads."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Long work has at most half of the turns: somebody at a slider never waits for its end."""
        self._free = at_once
        self._free_for_long = max(1, at_once // 2)
        self._lock = threading.Lock()
        self._line: list[_Place] = []
        self._served: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._count = self._wishes = 0

    def wish(self, who: str) -> int:
        """Something new that ``who`` wants: what waits of earlier wishes has been superseded."""
        with self._lock:
            self._wishes += 1  # over all: no wish of who was forgotten passes for a newer one
            self._newest.pop(who, None)
            self._newest[who] = self._wishes
            if len(self._newest) > _REMEMBERED:
                del self._newest[next(iter(self._newest))]  # whose newest is the oldest
            for place in [p for p in self._line if p.who == who and not p.long]:
                self._line.remove(place)
                place.dropped = True
                place.granted.set()
            return self._wishes

    @contextmanager
    def turn(self, who: str, wish: int | None = None) -> Iterator[None]:
        """Waits for a turn of ``who``, and holds it; without a ``wish`` it is a part of long work.

        Raises ``SupersededError`` if ``who`` has a newer wish by then.
        """
        place = _Place(who, wish or 0, wish is None, time.monotonic())
        with self._lock:
            if wish is not None and wish < self._newest.get(who, 0):
                raise SupersededError
            self._line.append(place)
            self._grant()
        while not place.granted.wait(PATIENCE_SECONDS):
            with self._lock:
                self._grant()
        if place.dropped:
            raise SupersededError
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._free_for_long += place.long
                self._grant()

    def _grant(self) -> None:
        while self._free and (able := [p for p in self._line if self._free_for_long or not p.long]):
            now = time.monotonic()
            first = min(
                able,
                key=lambda place: (
                    place.long and now - place.since < PATIENCE_SECONDS,
                    self._served.get(place.who, 0),
                    place.since,
                ),
            )
            self._line.remove(first)
            self._free -= 1
            self._free_for_long -= first.long
            self._count += 1
            self._served[first.who] = self._count
            first.granted.set()
        if not self._line and len(self._served) > _REMEMBERED:
            self._served.clear()

    def in_parts(self, items: Iterable[Item], who: str) -> Iterator[Item]:
        """``items``, each made in a turn of ``who``, as long work is."""
        made = iter(items)
        while True:
            with self.turn(who):
                try:
                    item = next(made)
                except StopIteration:
                    return
            yield item


_REMEMBERED = 1000
"""Sessions whose last turns and wishes are remembered."""

LINE = FairLine()
"""The line of this server."""


def session() -> str:
    """Tells the session whose script asks from all others."""
    return str(st.session_state.setdefault(_WHO, secrets.token_hex(8)))
