"""Jobs of the queue as pages show them, long work of a page, threads, and the end of sessions.

Work of a page is started, drawn, cancelled and cached here; a thread does what no page awaits.

A session's memory and descriptors are freed some time after its browser has left. Streamlit keeps a
disconnected session, uploads included, in case its browser returns, and removes it only when
another session comes or goes. This module closes and empties the session just before Streamlit
would stop accepting its return.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import runs
from robustness.base import settings
from robustness.base.errors import AccessError
from robustness.base.roles import Action, Role, policy
from robustness.base.text import counted, plain
from robustness.base.turns import TURNS, Pace, Unit, duration
from robustness.images.framing import Picture
from robustness.measure.measurement import Measurement
from robustness.measure.search import SmallestBreak
from robustness.models.loaded import give_back
from robustness.runs import Plan, TaskRequest, jobs, keeping, manifest
from robustness.runs.task import KindName
from robustness.ui import session as ui_session
from robustness.ui.patches import AppSession, Runtime, report_departures
from robustness.ui.session import (
    RUN,
    do,
    fragment,
    note_error,
    page_link,
    runs_folder,
    session,
    without_folders,
)
from robustness.ui.shared import RESULT_CACHE

SECONDS_BETWEEN = 1.0
"""Seconds between updates of a running job where it is shown in full."""

_SIDEBAR_SECONDS_BETWEEN = 2.0
"""The same in the sidebar, which every page of every session has."""

WAITING_LIMIT = 3
"""Default of the setting ``waiting_limit``."""

QUEUE_LIMIT = 30
"""Default of the setting ``queue_limit``."""

_START_ACTIONS: Mapping[KindName, Action] = {
    "run": Action.EVALUATE,
    "match": Action.EVALUATE,
    "training": Action.CHANGE_MODELS,
}
"""What somebody does who starts or continues a task, by its kind."""

_CANCEL_ACTIONS: Mapping[KindName, Action] = {
    "run": Action.CANCEL,
    "match": Action.CANCEL,
    "training": Action.CANCEL_TRAINING,
}

_WATCHED = "runs watched"
"""Session key: the folders of the jobs that this session started, by run."""

_CLICKED = "clicked on runs"
"""Session key: whether a job was cancelled since the page was drawn."""


def submit(works: Sequence[Plan | TaskRequest]) -> list[str]:
    """Queue ``works`` and return their ids; a run of the same plan may exist already.

    Raises ``AccessError`` if this session may not, and what ``jobs.submit`` raises.
    """
    for work in works:
        if isinstance(work, TaskRequest):
            ui_session.require(_START_ACTIONS[work.noun], thing=work.title)
            keeping.check_begin(runs_folder(), work.images)
        else:
            ui_session.require(_START_ACTIONS["run"], thing=work.record.title)
            keeping.check_begin(runs_folder(), work.record.pictures)
    with _room_in_queue(len(works)):
        folders = [jobs.submit(work, runs_folder(), _asker()) for work in works]
    for folder in folders:
        _watch(folder)
    return [folder.name for folder in folders]


@contextmanager
def _room_in_queue(count: int) -> Iterator[None]:
    """Lock the queue to add ``count`` jobs; raises ``AccessError`` if too many would then wait.

    Owners may have any number of their own waiting, but not more than all users together may.
    """
    with jobs.submitting(runs_folder()):
        queue = jobs.read_queue(runs_folder())
        waiting = [job for job in queue if job.progress is None]
        my_count = count + sum(job.by == _asker() for job in waiting)
        total_count = count + len(waiting)
        my_limit = settings.value(settings.WAITING_LIMIT) or WAITING_LIMIT
        total_limit = settings.value(settings.QUEUE_LIMIT) or QUEUE_LIMIT
        # A request for models of several sides is several jobs, and passes where none waits.
        if my_count > max(my_limit, count) and ui_session.role() < Role.OWNER:
            raise AccessError(
                f"Expected at most {counted(my_limit, 'job')} of yours to wait, got {my_count}: "
                f"wait until one begins, cancel one, or ask {policy().contact}."
            )
        if total_count > max(total_limit, count):
            raise AccessError(
                f"Expected at most {counted(total_limit, 'job')} of all users to wait, got "
                f"{total_count}: wait until one begins, or ask {policy().contact}."
            )
        yield


def _action(folder: Path, active: bool) -> Action:
    """The action of cancelling the job in ``folder`` if it is ``active``, else of continuing it."""
    task = runs.read_task(folder)
    kind = "run" if task is None else task.noun
    return _CANCEL_ACTIONS[kind] if active else _START_ACTIONS[kind]


def _resume(folder: Path) -> None:
    """Continue the unfinished job in ``folder``."""
    ui_session.require(_action(folder, active=False), thing=folder.name)
    keeping.check_begin(folder.parent)
    with _room_in_queue(1):
        jobs.resume(folder, _asker())
    _watch(folder)


def require_cancel(folder: Path) -> None:
    """Raise ``AccessError`` unless this session may cancel the job in ``folder``."""
    action = _action(folder, active=True)
    ui_session.require(action, owner=jobs.asker(folder), thing=folder.name)


def _cancel(folder: Path) -> None:
    st.session_state[_CLICKED] = True
    require_cancel(folder)
    jobs.cancel(folder)
    st.session_state.get(_WATCHED, {}).pop(folder.name, None)


def _asker() -> str:
    """Identify who asks: a person, a browser, or this session."""
    return ui_session.me() or session()


def _watch(folder: Path) -> None:
    """Have the queue worked on, and show the job in ``folder`` in this session's sidebar."""
    jobs.supervise(folder.parent)
    st.session_state.setdefault(_WATCHED, {})[folder.name] = folder


def buttons(folder: Path, active: bool, key: str) -> None:
    """Draw Cancel for the job in ``folder`` if it is ``active``, else Continue."""
    if active:
        label = "Cancel"
        icon = ":material/stop_circle:"
        click = _cancel
    else:
        label = "Continue"
        icon = ":material/play_arrow:"
        click = _resume
    arguments = ui_session.allowed(
        _action(folder, active),
        jobs.asker(folder),
        key=f"{key} {label} {folder.name}",
        thing=folder.name,
    )
    st.button(label, icon=icon, on_click=do, args=(click, folder), **arguments)


def is_active(folder: Path) -> bool:
    """Whether a job or another process works on the run in ``folder``, or will."""
    return jobs.is_queued(folder) or jobs.outside_job(folder) is not None


def progress(folder: Path, what: str, images: int | None = None) -> None:
    """Draw the job in ``folder`` until it ends.

    ``what`` says, after "You can close this page", what goes on then. ``images`` is the number of
    images whose results the page shows, None if it shows none.
    """
    fragment(_progress, run_every=SECONDS_BETWEEN)(folder, what, images)


_GROWTH = 1.5
"""The page of a run is drawn again when it has so many times as many images: its map fills, and a
long run is not computed anew at every write."""


def _progress(folder: Path, what: str, images: int | None) -> None:
    if images is not None and manifest.read(folder).images > _GROWTH * images:
        st.rerun()
    queued_jobs = {job.run: job for job in jobs.read_queue(folder.parent)}
    job = queued_jobs.get(folder.name) or jobs.outside_job(folder)
    if job is None:
        st.rerun()  # done or stopped
    with st.container(border=True, key="under-way"):
        st.progress(job.share, text=plain(job.text))
        if folder.name not in queued_jobs:
            st.caption("Runs in another process, such as a command.")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            buttons(folder, active=True, key="page")
            st.caption(f"You can close this page: {what}.")


def stopped(folder: Path, what: str) -> None:
    """Say after ``what`` why the job in ``folder`` stopped, and offer to continue."""
    with st.container(horizontal=True, vertical_alignment="center"):
        reason = plain(without_folders(jobs.stop_reason(folder)))
        st.warning(f"{what} {reason}", icon=":material/hourglass_bottom:")
        buttons(folder, active=False, key="page")


def sidebar(opened: str | None) -> None:
    """Draw the running and queued jobs, and the outcome of those that this session started.

    Leaves out the run ``opened``, which the page itself shows.
    """
    folder = runs_folder()
    st.session_state.pop(_CLICKED, None)
    if jobs.read_queue(folder) or st.session_state.get(_WATCHED):
        fragment(_list, run_every=_SIDEBAR_SECONDS_BETWEEN)(folder, opened)


_MOST_LISTED = 3


def _list(folder: Path, opened: str | None) -> None:
    if st.session_state.pop(_CLICKED, False):
        st.rerun()  # the whole page, as it shows the run in several places
    queue = jobs.read_queue(folder)
    watched: dict[str, Path] = st.session_state.get(_WATCHED, {})
    shown = [job for job in queue if job.run != opened]
    if shown or watched.keys() - {opened}:
        st.divider()
    for job in shown[:_MOST_LISTED]:
        _queued_job(job, folder / job.run)
    if len(shown) > _MOST_LISTED:
        left_out = counted(len(shown) - _MOST_LISTED, "more run")
        st.caption(f"and {left_out} in the queue")
    queued_runs = {job.run for job in queue}
    for run_id, run_folder in list(watched.items()):
        if run_id in queued_runs:
            continue
        if run_id == opened:  # its outcome has been seen
            del watched[run_id]
        else:
            _outcome(run_folder)


def _queued_job(job: jobs.Job, folder: Path) -> None:
    """Draw the progress of ``job``, which works in ``folder``, with a link and Cancel."""
    with st.container(key=f"job-{job.run}", gap="xxsmall"):
        title = plain(runs.title_of(folder))
        st.progress(job.share, text=f"**{title}**  \n{plain(job.text)}")
        with st.container(horizontal=True, vertical_alignment="center"):
            _link(folder, "Watch")
            buttons(folder, active=True, key="sidebar")


def _outcome(folder: Path) -> None:
    """Say that the job in ``folder`` is ready, or why it stopped."""
    with st.container(key=f"job-{folder.name}", gap="xxsmall"):
        reason = without_folders(jobs.stop_reason(folder))
        outcome = f"stopped: {reason}" if reason else "is ready."
        st.caption(f"**{plain(runs.title_of(folder))}** {plain(outcome)}")
        _link(folder, "Open")


def _link(folder: Path, label: str) -> None:
    page_link("pages/evaluations.py", label, ":material/analytics:", {RUN: folder.name})


# --- work of a page -------------------------------------------------------------------------------


Item = TypeVar("Item")
Show = Callable[[float, str], None]
"""Shows the share of the work that is done, from 0 to 1, with a text."""

_REQUESTED = "asked for"
_CANCELLED = "cancelled"


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
        st.session_state[self._state_key] = _REQUESTED, self.key

    def cancel(self) -> None:
        """Cancel the work."""
        st.session_state[self._state_key] = _CANCELLED, self.key

    @property
    def _state_key(self) -> str:
        return f"work {self.what}"

    def _is(self, state: str) -> bool:
        return bool(st.session_state.get(self._state_key) == (state, self.key))

    @contextmanager
    def bar(self, text: str, places: Sequence[DeltaGenerator] = ()) -> Iterator[Show]:
        """Draw a progress bar with ``text`` and a Cancel button; remove both at the end.

        They fill the empty ``places``: one place holds both, two hold one each. The button reruns
        the page, which stops the script at the next update of the bar. After the work's end, or an
        error, the work is no longer requested.
        """
        places = places or [st.empty()]
        if len(places) == 2:
            bar_place, button_place = places
        else:
            row = places[0].container(horizontal=True, vertical_alignment="center")
            bar_place = row
            button_place = row
        bar = bar_place.progress(0.0, text=text)
        button_place.button("Cancel", key=f"cancel {self.what}", on_click=self.cancel)

        def show(share: float, text: str) -> None:
            bar.progress(min(1.0, share), text=text)

        try:
            yield show
        except Exception:  # but not Streamlit's own exceptions: a rerun continues the work
            self._end(places)
            raise
        self._end(places)

    def _end(self, places: Sequence[DeltaGenerator]) -> None:
        for place in places:
            place.empty()
        st.session_state.pop(self._state_key, None)

    def with_progress(
        self,
        items: Iterable[Item],
        total: int,
        said: Callable[[int, float], str] | None = None,
        places: Sequence[DeltaGenerator] = (),
        share_after: Callable[[Item], float] | None = None,
    ) -> Iterator[Item]:
        """Yield ``items`` while a bar shows the share of ``total`` and the time left.

        ``said`` makes the bar's text from the number of items and their share. ``share_after``
        returns the share that is done after an item, for items that are not alike. Items are made
        in turns of this session, as other sessions want the same cores.
        """
        pace = Pace(Unit("steps"), total, overall=True)
        share = 0.0
        with self.bar(f"{self.what}: loading the models …", places) as show:
            for count, item in enumerate(TURNS.in_parts(items, session()), start=1):
                if share_after is None:
                    share = min(1.0, count / total)
                else:
                    share = max(share, min(1.0, share_after(item)))  # the bar never goes back
                pace.note(share * total)
                if said is not None:
                    text = said(count, share)
                else:
                    text = f"{self.what}: {count} of {total}"
                if pace.seconds_left:
                    text += f", {duration(pace.seconds_left)} left"
                show(share, text)
                yield item

    def is_cancelled(self) -> bool:
        """Whether the work was cancelled; if so, says it and offers to start again."""
        if not self.cancelled:
            return False
        text = "Cancelled. Nothing was lost; start again when you like."
        st.warning(text, icon=":material/block:")
        st.button("Start again", on_click=self.ask)
        return True


@dataclass(frozen=True)
class CachedWork(Work):
    """Work on ``picture``, if there is one; its results are cached for all sessions under its key.

    ``events`` starts it on the image without its name and yields about ``total`` items; those of
    the types ``results`` are cached. ``said`` and ``share_after`` are as in ``with_progress``.
    """

    picture: Picture | None
    events: Callable[[Any], Iterable[Any]]
    total: int
    results: tuple[type, ...] = (object,)
    said: Callable[[int, float], str] | None = None
    share_after: Callable[[Any], float] | None = None

    @property
    def cached(self) -> list[Any] | None:
        """The cached results with this session's name of the image; None if there are none."""
        results = RESULT_CACHE.get(self.key)
        if results is None:
            return None
        return self._named(results)

    def _named(self, results: Sequence[Any]) -> list[Any]:
        """``results`` with the name that the image has in this session in each measurement."""
        name = self.picture.name if self.picture else ""
        named_results = []
        for result in results:
            if isinstance(result, Measurement):
                result = replace(result, image=name)
            elif isinstance(result, SmallestBreak):
                result = replace(result, row=replace(result.row, image=name))
            named_results.append(result)
        return named_results

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
        first_place = st.empty()
        second_place = st.empty()
        cached = self.cached
        if cached is not None:
            return cached
        if self.requested:
            return self._compute([first_place, second_place])
        first_place.caption(caption)
        second_place.button(
            button, key=f"start {self.what}", icon=":material/play_arrow:", on_click=self.ask
        )
        return None

    def _compute(self, places: Sequence[DeltaGenerator]) -> list[Any]:
        """Compute and cache the results, with progress in ``places``."""
        # Without the name, as other sessions may have the same image by another name.
        picture = replace(self.picture, name="") if self.picture else None
        events = self.with_progress(
            self.events(picture), self.total, self.said, places, self.share_after
        )
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
            thread = threading.Thread(target=run, name=name, daemon=True)
            _RUNNING[name] = thread
            thread.start()
        return _RUNNING[name]


# --- the end of sessions --------------------------------------------------------------------------


_MARGIN = 5.0
"""Seconds before Streamlit forgets a session and it could no longer be closed."""

_MOST_LEFT = 128
"""Sessions that Streamlit keeps for the return of their browsers; it forgets the oldest first."""

_BATCH_SECONDS = 2.0
"""Sessions that end within this time are handled together."""

AFTERWARDS: list[Callable[[], object]] = []
"""What to do in the background after sessions have ended."""

_LEFT: dict[str, tuple[AppSession, asyncio.TimerHandle]] = {}
"""Sessions whose browsers have left, each with its scheduled end; the first to leave first."""


def watch() -> None:
    """Arrange for every session of this server to end after its browser leaves."""
    report_departures(_left)


def _left(session: AppSession, has_run: bool) -> None:
    """End ``session`` later; at once if no script has run in it, as there is nothing to keep."""
    if not has_run:
        Runtime.instance().close_session(session.id)
        return
    _forget(session)  # it may have left before, and come back
    seconds_kept = float(st.get_option("server.disconnectedSessionTTL"))
    delay = max(0.0, seconds_kept - _MARGIN)
    end = asyncio.get_running_loop().call_later(delay, _end, session)
    _LEFT[session.id] = session, end
    if len(_LEFT) > _MOST_LEFT:
        oldest, _ = next(iter(_LEFT.values()))
        _end(oldest)


def _forget(session: AppSession) -> None:
    """Take ``session`` from those that end later."""
    if session.id in _LEFT:
        _, end = _LEFT.pop(session.id)
        end.cancel()


def _end(session: AppSession) -> None:
    """Close and empty ``session``, unless its browser has come back."""
    _forget(session)
    runtime = Runtime.instance()
    if runtime.is_active_session(session.id):
        return
    runtime.close_session(session.id)
    session.shutdown()  # also of a session that Streamlit has forgotten
    session.session_state.clear()
    begin("after sessions", _clean)


def _clean() -> None:
    """Clean up once for several sessions that end together, and return their memory."""
    time.sleep(_BATCH_SECONDS)
    for action in AFTERWARDS:
        action()
    give_back()
