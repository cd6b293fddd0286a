"""Long work: on a page started, drawn, cancelled and cached, or in a thread that no page awaits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness.base.progress_and_time_left import Pace, Unit, duration
from robustness.base.round_robin_and_job_pauses import TURNS
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.pictures.framed_picture import Picture
from robustness.ui.computation.shared_results import RESULT_CACHE
from robustness.ui.server.counters import note_error
from robustness.ui.session.access import session

Item = TypeVar("Item")
Show = Callable[[float, str], None]
"""Shows the share of the work that is done, from 0 to 1, with a text."""

_REQUESTED, _CANCELLED = "asked for", "cancelled"


@dataclass(frozen=True)
class Work:
    """Work that this session can start and cancel.

    ``what`` is its name on the page. ``key`` identifies the whole request, so that other work with
    this name does not count as started or cancelled.
    """

    what: str
    key: str

    @property
    def requested(self) -> bool:
        return self._is(_REQUESTED)

    @property
    def cancelled(self) -> bool:
        return self._is(_CANCELLED)

    def ask(self) -> None:
        """Start the work at the next script run."""
        st.session_state[self._place] = _REQUESTED, self.key

    def cancel(self) -> None:
        """Cancel the work."""
        st.session_state[self._place] = _CANCELLED, self.key

    @property
    def _place(self) -> str:
        return f"work {self.what}"

    def _is(self, state: str) -> bool:
        return bool(st.session_state.get(self._place) == (state, self.key))

    @contextmanager
    def bar(self, text: str, places: Sequence[DeltaGenerator] = ()) -> Iterator[Show]:
        """Draw a progress bar with ``text`` and a Cancel button; removes both at the end.

        They fill the empty ``places``: one place holds both, two hold one each. The button reruns
        the page, which stops the script at the next update of the bar. After the work's end, or an
        error, the work is no longer requested.
        """
        places = places or [st.empty()]
        if len(places) == 1:
            row = places[0].container(horizontal=True, vertical_alignment="center")
        first, second = places if len(places) == 2 else (row, row)
        bar = first.progress(0.0, text=text)
        second.button("Cancel", key=f"cancel {self.what}", on_click=self.cancel)

        def show(share: float, said: str) -> None:
            bar.progress(min(1.0, share), text=said)

        try:
            yield show
        except Exception:  # but not Streamlit's own exceptions: a rerun continues the work
            self._end(places)
            raise
        self._end(places)

    def _end(self, places: Sequence[DeltaGenerator]) -> None:
        for place in places:
            place.empty()
        st.session_state.pop(self._place, None)

    def with_progress(
        self,
        items: Iterable[Item],
        total: int,
        said: Callable[[int, float], str] | None = None,
        places: Sequence[DeltaGenerator] = (),
    ) -> Iterator[Item]:
        """Yield ``items`` while a bar shows the share of ``total`` and the time left.

        ``said`` makes the bar's text from the number of items and their share. Items are
        made in turns of this session, as other sessions want the same cores.
        """
        pace = Pace(Unit("steps"), total, overall=True)
        with self.bar(f"{self.what}: loading the models …", places) as show:
            for count, item in enumerate(TURNS.in_parts(items, session()), start=1):
                pace.note(count)
                share = min(1.0, count / total)
                text = said(count, share) if said else f"{self.what}: {count} of {total}"
                left = f", {duration(pace.seconds_left)} left" if pace.seconds_left else ""
                show(share, text + left)
                yield item

    def is_cancelled(self) -> bool:
        """Whether the work was cancelled; if so, says it and offers to start again."""
        if self.cancelled:
            st.warning(
                "Cancelled. Nothing was lost; start again when you like.", icon=":material/block:"
            )
            st.button("Start again", on_click=self.ask)
        return self.cancelled


@dataclass(frozen=True)
class CachedWork(Work):
    """Work on ``picture``, if there is one; its results are cached for all sessions under its key.

    ``events`` starts it on the image without its name and yields items that sum to about
    ``total``; those of the types ``results`` are cached. ``said`` is as in ``with_progress``.
    """

    picture: Picture | None
    events: Callable[[Any], Iterable[Any]]
    total: int
    results: tuple[type, ...] = (object,)
    said: Callable[[int, float], str] | None = None

    @property
    def cached(self) -> list[Any] | None:
        """The cached results with this session's name of the image; None if there are none."""
        results = RESULT_CACHE.get(self.key)
        return None if results is None else self._named(results)

    def _named(self, results: Sequence[Any]) -> list[Any]:
        name = self.picture.name if self.picture else ""
        return [replace(r, image=name) if isinstance(r, Measurement) else r for r in results]

    def at_once(self) -> list[Any]:
        """The results, computed now unless cached; stops the page if that was cancelled."""
        place = st.empty()  # always drawn, so that what follows keeps its place
        cached = self.cached
        if cached is not None:
            return cached
        with place.container():
            if self.is_cancelled():
                st.stop()
        return self._compute([place])

    def on_request(self, button: str, caption: str) -> list[Any] | None:
        """The results once ``button`` was pressed, else None; cancelling shows the button again."""
        # Both states fill the same two places, so that nothing of one stays in the other and no
        # button moves under a click.
        places = st.empty(), st.empty()
        cached = self.cached
        if cached is None and self.requested:
            return self._compute(places)
        if cached is None:
            places[0].caption(caption)
            places[1].button(
                button, key=f"start {self.what}", icon=":material/play_arrow:", on_click=self.ask
            )
        return cached

    def _compute(self, places: Sequence[DeltaGenerator]) -> list[Any]:
        """Compute the results, with progress in ``places``."""
        events = self.events(self.picture and replace(self.picture, name=""))
        events = self.with_progress(events, self.total, self.said, places)
        results = [event for event in events if isinstance(event, self.results)]
        RESULT_CACHE.put(self.key, results)
        return self._named(results)


# --- in threads -----------------------------------------------------------------------------------


_RUNNING: dict[str, threading.Thread] = {}

_CHANGING = threading.Lock()
"""Guards ``_RUNNING``."""


def begin(name: str, work: Callable[[], object]) -> threading.Thread:
    """Start ``work`` in a thread called ``name``, unless one of this name runs; return the thread.

    An unexpected error is counted and logged. The end of the server does not wait for the thread.
    """

    def run() -> None:
        try:
            work()
        except Exception as error:
            note_error(error)
            raise
        finally:
            with _CHANGING:
                del _RUNNING[name]

    with _CHANGING:
        if name not in _RUNNING:
            _RUNNING[name] = threading.Thread(target=run, name=name, daemon=True)
            _RUNNING[name].start()
        return _RUNNING[name]
