"""Long work on a page: asked for, shown with how far it is, cancelled, begun again, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness.base.pace import Pace, Unit, duration
from robustness.base.turns import TURNS
from robustness.pictures.picture import Picture
from robustness.ui.session.identity import session
from robustness.ui.session.kept import KEPT, named, nameless

Item = TypeVar("Item")
Show = Callable[[float, str], None]
"""Shows that a share of the work, from 0 to 1, is done, with a text."""

_ASKED, _CANCELLED = "asked for", "cancelled"


@dataclass(frozen=True)
class Work:
    """Work that this session may ask for and cancel.

    ``what`` names it to people, and among the works of a page. ``key`` says all of what is asked,
    so that other work of this name is taken neither for asked for nor for cancelled.
    """

    what: str
    key: str

    @property
    def asked(self) -> bool:
        return self._is(_ASKED)

    @property
    def cancelled(self) -> bool:
        return self._is(_CANCELLED)

    def ask(self) -> None:
        """Has the work be done from now on."""
        st.session_state[self._place] = _ASKED, self.key

    def cancel(self) -> None:
        """Has it be done no longer."""
        st.session_state[self._place] = _CANCELLED, self.key

    @property
    def _place(self) -> str:
        return f"work {self.what}"

    def _is(self, state: str) -> bool:
        return bool(st.session_state.get(self._place) == (state, self.key))

    @contextmanager
    def bar(self, text: str, places: Sequence[DeltaGenerator] = ()) -> Iterator[Show]:
        """A bar that says ``text`` until it is given more to say, and a button to cancel.

        They fill the empty ``places``: beside each other if it is one, each its own if two. The
        button reruns the page, which stops the script when the bar is drawn next. Once the work
        ends, by an error or not, both are gone and the work is no longer asked for.
        """
        places = places or [st.empty()]
        first, second = places if len(places) == 2 else 2 * [_row(places[0])]
        bar = first.progress(0.0, text=text)
        second.button("Cancel", key=f"cancel {self.what}", on_click=self.cancel)

        def show(share: float, said: str) -> None:
            bar.progress(min(1.0, share), text=said)

        try:
            yield show
        except Exception:  # not what Streamlit raises to rerun the page: then the work goes on
            self._end(places)
            raise
        self._end(places)

    def _end(self, places: Sequence[DeltaGenerator]) -> None:
        for place in places:
            place.empty()
        st.session_state.pop(self._place, None)

    def shown(
        self,
        items: Iterable[Item],
        total: int,
        said: Callable[[int, float], str] | None = None,
        places: Sequence[DeltaGenerator] = (),
        effort: Callable[[Item], float] = lambda _: 1,
    ) -> Iterator[Item]:
        """Passes on ``items`` while a bar shows how much of ``total`` is done, and the time left.

        ``effort`` says how much of it an item was: 0 of one that was there already, which tells
        nothing of the time that others take. ``said`` gives the text beside the bar, by how many
        items there are, and what share of the work they are. They are made in turns of this
        session's, as others want the same cores.
        """
        pace = Pace(Unit("steps"), total, overall=True)
        done = 0.0
        with self.bar(f"{self.what}: loading the models …", places) as show:
            for count, item in enumerate(TURNS.in_parts(items, session()), start=1):
                if added := effort(item):
                    done += added
                    pace.note(done)
                share = min(1.0, done / total)
                text = said(count, share) if said else f"{self.what}: {count} of {total}"
                show(share, text + _left(pace))
                yield item

    def is_cancelled(self) -> bool:
        """Whether it was cancelled; says so, with a button to start again."""
        if self.cancelled:
            st.warning(
                "Cancelled. Nothing was lost; start again when you like.", icon=":material/block:"
            )
            st.button("Start again", on_click=self.ask)
        return self.cancelled


def _left(pace: Pace) -> str:
    """Such as ", 2 min 5 s left"; "" where that cannot be told, or at the end."""
    return f", {duration(pace.seconds_left)} left" if pace.seconds_left else ""


def _row(place: DeltaGenerator) -> DeltaGenerator:
    return place.container(horizontal=True, vertical_alignment="center")


@dataclass(frozen=True)
class Measuring(Work):
    """Work on ``pictures`` whose results are kept for every session under its key.

    ``events`` begins it, given the images without the names that this session has for them;
    about ``total`` come of it, each counted by its ``effort``, of which those of the types
    ``results`` are kept. ``said`` and ``effort`` are those of ``shown``.
    """

    pictures: Sequence[Picture]
    events: Callable[[Sequence[Picture]], Iterable[Any]]
    total: int
    results: tuple[type, ...] = (object,)
    said: Callable[[int, float], str] | None = None
    effort: Callable[[Any], float] = lambda _: 1

    @property
    def is_kept(self) -> bool:
        return KEPT.get(self.key) is not None

    @property
    def found(self) -> list[Any] | None:
        """The results, with this session's names of the images; None while there are none."""
        kept = KEPT.get(self.key)
        return None if kept is None else named(kept, self.pictures)

    def at_once(self) -> list[Any]:
        """The results, made now unless they are kept; ends the page if that was cancelled."""
        place = st.empty()  # always there: what follows keeps its place when the results are kept
        found = self.found
        if found is not None:
            return found
        with place.container():
            if self.is_cancelled():
                st.stop()
        return self._made([place])

    def on_request(self, button: str, caption: str) -> list[Any] | None:
        """The results once ``button`` was pressed, or else None; cancelling brings it back."""
        # Both states fill the same two places, so that nothing of the one stays in the other, and
        # no button jumps away from under a click.
        places = st.empty(), st.empty()
        found = self.found
        if found is None and self.asked:
            return self._made(places)
        if found is None:
            places[0].caption(caption)
            places[1].button(
                button, key=f"start {self.what}", icon=":material/play_arrow:", on_click=self.ask
            )
        return found

    def in_silence(self) -> list[Any]:
        """The results, made now unless they are kept; not shown, so that nothing cancels it."""
        found = self.found
        return self._made() if found is None else found

    def _made(self, places: Sequence[DeltaGenerator] = ()) -> list[Any]:
        """Makes the results, shown in ``places`` if there are any."""
        events = self.events(nameless(self.pictures))
        if places:
            events = self.shown(events, self.total, self.said, places, self.effort)
        kept = [event for event in events if isinstance(event, self.results)]
        KEPT.put(self.key, kept)
        return named(kept, self.pictures)
