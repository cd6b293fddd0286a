"""Links between pages, and the run and image that a link may name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from robustness import runs
from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.report.questions.safe_threshold import ThresholdInUse
from robustness.runs import notes

RUN, IMAGE = "run", "image"
"""Link parameters: the id of a run, and the name of an image in it."""

UPLOAD = "upload"
"""Link parameter for an upload: as ``reloads`` has it, or the id of its shared copy."""


def runs_folder() -> Path:
    """Where the dashboard keeps runs: the setting ``runs``, else ``runs`` in the working folder."""
    return settings.value(settings.RUNS) or Path("runs").resolve()


_BASELINE = "baseline of this session"


def baseline_id(folder: Path) -> str:
    """The id of the run that comparisons start from: this session's, else the pinned one, or ""."""
    own = str(st.session_state.get(_BASELINE, ""))
    return own if own and (folder / own).is_dir() else notes.baseline(folder)


def set_baseline(run_id: str) -> None:
    """Make ``run_id`` the baseline of this session; "" for the pinned one."""
    st.session_state[_BASELINE] = run_id


_ACCEPTED = "accepted from"


def accepted_from() -> Mapping[str, ThresholdInUse]:
    """The safe thresholds that this session uses on One image, by model."""
    thresholds: Mapping[str, ThresholdInUse] = st.session_state.get(_ACCEPTED, {})
    return thresholds


def accept_from(thresholds: Mapping[str, ThresholdInUse]) -> None:
    """Use ``thresholds``, by model, on One image in this session; {} for none."""
    st.session_state[_ACCEPTED] = thresholds


def page_link(page: str, label: str, icon: str, query: Mapping[str, Any]) -> None:
    """Draw a link to another page; nothing where a page runs alone as the main script."""
    with contextlib.suppress(StreamlitAPIException):
        st.page_link(page, label=label, icon=icon, query_params=query)


def linked_run() -> None:
    """Link to the run that this page's link names, on pages other than the run's own."""
    if (run_id := st.query_params.get(RUN)) is None:
        return
    with contextlib.suppress(RobustnessError):  # not a valid run id
        if last_written(runs_folder(), run_id):
            label = f"Open the run {plain(run_id)}"
            page_link("pages/evaluations.py", label, ":material/analytics:", {RUN: run_id})
            return
    if IMAGE not in st.query_params:  # else its image is missed
        st.warning(f"There is no run {plain(run_id)} here.", icon=":material/link_off:")


def last_written(folder: Path, run_id: str) -> int:
    """A number that changes whenever the run is written; 0 if there is none.

    Cached data of a run needs it, as a run's id may be reused. Raises ``RunError`` for an invalid
    id.
    """
    return runs.written(runs.place(folder, run_id))


def show_what_is_no_run(entries: Sequence[runs.Listed]) -> None:
    """List the folders among ``entries`` that cannot be opened as runs, with the reasons."""
    broken = [entry for entry in entries if entry.reason]
    if broken:
        several = "folders that are not runs" if len(broken) > 1 else "folder that is not a run"
        with st.expander(f"{len(broken)} {several}", icon=":material/folder_off:"):
            for entry in broken:
                st.caption(plain(f"{entry.folder.name}: {entry.reason}"))


def leave() -> None:
    """Remove the run's image and the upload from the link, as another image was chosen."""
    for name in (RUN, IMAGE, UPLOAD):
        st.query_params.pop(name, None)
