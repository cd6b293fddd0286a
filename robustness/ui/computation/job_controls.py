"""Running and queued jobs, as every page shows them: progress, order, and how to stop one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from robustness import runs
from robustness.base import settings
from robustness.base.errors import AccessError
from robustness.base.permission_policy_and_check import Action, Role, policy
from robustness.base.text import counted, plain
from robustness.runs import MatchRequest, Plan, jobs, manifest, retention_and_storage_limits
from robustness.ui.session import access
from robustness.ui.session.access import session
from robustness.ui.session.error_boundary import do, fragment, without_folders
from robustness.ui.session.runs_folder_and_links import RUN, page_link, runs_folder

SECONDS_BETWEEN = 1.0
"""Seconds between updates of a running job where it is shown in full."""

_SIDEBAR_SECONDS_BETWEEN = 2.0
"""The same in the sidebar, which every page of every session has."""

WAITING_LIMIT = 3
"""Default of the setting ``waiting_limit``."""

QUEUE_LIMIT = 30
"""Default of the setting ``queue_limit``."""

_WATCHED, _CLICKED = "runs watched", "clicked on runs"


def submit(plans: Sequence[Plan]) -> list[str]:
    """Queue ``plans`` and return the ids of their runs, which may exist already.

    Raises ``AccessError`` if this session may not, and what ``jobs.submit`` raises.
    """
    for plan in plans:
        access.require(Action.EVALUATE, thing=plan.record.title)
        retention_and_storage_limits.check_begin(runs_folder(), plan.record.pictures)
    with _places(len(plans)):
        folders = [jobs.submit(plan, runs_folder(), _asker()) for plan in plans]
    for folder in folders:
        _watch(folder)
    return [folder.name for folder in folders]


@contextmanager
def _places(count: int) -> Iterator[None]:
    """Add ``count`` jobs within; raises ``AccessError`` if too many would then wait.

    Owners may have any number of their own waiting, but not more than all users together may.
    """
    with jobs.submitting(runs_folder()):
        queue = jobs.read_queue(runs_folder())
        waiting = [job for job in queue if job.progress is None]
        own = count + sum(job.by == _asker() for job in waiting)
        everybody = count + len(waiting)
        most_own = settings.value(settings.WAITING_LIMIT) or WAITING_LIMIT
        most = settings.value(settings.QUEUE_LIMIT) or QUEUE_LIMIT
        # A request for models of several sides is several jobs, and passes where none waits.
        if own > max(most_own, count) and access.role() < Role.OWNER:
            raise AccessError(
                f"Expected at most {counted(most_own, 'job')} of yours to wait, got {own}: wait "
                f"until one begins, cancel one, or ask {policy().contact}."
            )
        if everybody > max(most, count):
            raise AccessError(
                f"Expected at most {counted(most, 'job')} of all users to wait, got {everybody}: "
                f"wait until one begins, or ask {policy().contact}."
            )
        yield


def submit_hardening(folder: Path, arguments: Sequence[str]) -> None:
    """Queue the training of a model of the run in ``folder``; raises ``RobustnessError``."""
    access.require(Action.CHANGE_MODELS, thing=folder.name)
    retention_and_storage_limits.check_begin(folder.parent)
    with _places(1):
        jobs.submit_hardening(folder, arguments, _asker())
    _watch(folder)


def submit_match(saved: MatchRequest) -> str:
    """Queue the match ``saved`` and return its id; raises as ``submit`` does."""
    access.require(Action.EVALUATE, thing=saved.title)
    retention_and_storage_limits.check_begin(runs_folder(), saved.images)
    with _places(1):
        folder = jobs.submit_match(saved, runs_folder(), _asker())
    _watch(folder)
    return folder.name


def _action(folder: Path, active: bool) -> Action:
    """What it takes to cancel the run in ``folder`` if it is ``active``, else to continue it."""
    if jobs.is_hardening(folder):
        return Action.CANCEL_TRAINING if active else Action.CHANGE_MODELS
    return Action.CANCEL if active else Action.EVALUATE


def _resume(folder: Path) -> None:
    """Continue the unfinished run in ``folder``."""
    access.require(_action(folder, False), thing=folder.name)
    retention_and_storage_limits.check_begin(folder.parent)
    with _places(1):
        jobs.resume(folder, _asker())
    _watch(folder)


def require_cancel(folder: Path) -> None:
    """Raise ``AccessError`` unless this session may cancel the job in ``folder``."""
    access.require(_action(folder, True), jobs.asker(folder), folder.name)


def _cancel(folder: Path) -> None:
    st.session_state[_CLICKED] = True
    require_cancel(folder)
    jobs.cancel(folder)
    st.session_state.get(_WATCHED, {}).pop(folder.name, None)


def _asker() -> str:
    """Identify who asks: a person, a browser, or this session."""
    return access.me() or session()


def _watch(folder: Path) -> None:
    jobs.supervise(folder.parent)
    st.session_state.setdefault(_WATCHED, {})[folder.name] = folder


def buttons(folder: Path, active: bool, key: str) -> None:
    """Draw Cancel for the run in ``folder`` if it is ``active``, else Continue."""
    label, icon = ("Cancel", "stop_circle") if active else ("Continue", "play_arrow")
    st.button(
        label,
        icon=f":material/{icon}:",
        on_click=do,
        args=(_cancel if active else _resume, folder),
        **access.allowed(
            _action(folder, active),
            jobs.asker(folder),
            key=f"{key} {label} {folder.name}",
            thing=folder.name,
        ),
    )


def is_active(folder: Path) -> bool:
    """Whether a job or another process works on the run in ``folder``, or will."""
    return jobs.is_queued(folder) or jobs.outside_job(folder) is not None


def progress(folder: Path, what: str, images: int | None = None) -> None:
    """Draw the job in ``folder`` until it ends; ``what`` is said to go on without the page.

    ``images`` is how many the page shows the results of, None if it shows none.
    """
    fragment(_progress, run_every=SECONDS_BETWEEN)(folder, what, images)


_MORE = 1.5
"""The page of a run is drawn again when it has so many times as many images: its map fills, and a
long run is not computed anew at every write."""


def _progress(folder: Path, what: str, images: int | None) -> None:
    if images is not None and manifest.read(folder).images > _MORE * images:
        st.rerun()
    queue = {job.run: job for job in jobs.read_queue(folder.parent)}
    job = queue.get(folder.name) or jobs.outside_job(folder)
    if job is None:
        st.rerun()  # done or stopped
    with st.container(border=True, key="under-way"):
        st.progress(job.share, text=plain(job.text))
        if folder.name not in queue:
            st.caption("Runs in another process, such as a command.")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            buttons(folder, True, "page")
            st.caption(f"You can close this page: {what}.")


def stopped(folder: Path, what: str) -> None:
    """Say after ``what`` why the job in ``folder`` stopped, and offer to continue."""
    with st.container(horizontal=True, vertical_alignment="center"):
        reason = plain(without_folders(jobs.stop_reason(folder)))
        st.warning(f"{what} {reason}", icon=":material/hourglass_bottom:")
        buttons(folder, False, "page")


def sidebar(opened: str | None) -> None:
    """Draw the running and queued jobs, and the outcome of those that this session started.

    Leaves out the run ``opened``, which the page itself shows.
    """
    folder = runs_folder()
    st.session_state.pop(_CLICKED, None)
    if jobs.read_queue(folder) or st.session_state.get(_WATCHED):
        fragment(_list, run_every=_SIDEBAR_SECONDS_BETWEEN)(folder, opened)


def _list(folder: Path, opened: str | None) -> None:
    if st.session_state.pop(_CLICKED, False):
        st.rerun()  # the whole page, as it shows the run in several places
    active = jobs.read_queue(folder)
    watched: dict[str, Path] = st.session_state.get(_WATCHED, {})
    others = [job for job in active if job.run != opened or jobs.is_hardening(folder / job.run)]
    if others or {*watched} - {opened}:
        st.divider()
    for job in others[:3]:
        run = folder / job.run
        with st.container(key=f"job-{job.run}", gap="xxsmall"):
            title = plain(runs.title_of(run))
            st.progress(job.share, text=f"**{title}**  \n{plain(job.text)}")
            with st.container(horizontal=True, vertical_alignment="center"):
                _link(run, "Watch")
                buttons(run, True, "sidebar")
    if len(others) > 3:
        st.caption(f"and {counted(len(others) - 3, 'more run')} in the queue")
    going = {job.run for job in active}
    for name, path in list(watched.items()):
        if name in going:
            continue
        if name == opened:
            del watched[name]
            continue
        with st.container(key=f"job-{name}", gap="xxsmall"):
            reason = without_folders(jobs.stop_reason(path))
            what = f"stopped: {reason}" if reason else "is ready."
            st.caption(f"**{plain(runs.title_of(path))}** {plain(what)}")
            _link(path, "Open")


def _link(folder: Path, label: str) -> None:
    page_link("pages/evaluations.py", label, ":material/analytics:", {RUN: folder.name})
