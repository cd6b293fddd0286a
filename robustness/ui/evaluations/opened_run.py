"""The open run, and its state while it is not finished."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from robustness import models, runs
from robustness.base.progress import duration
from robustness.base.text import plain
from robustness.runs import jobs
from robustness.ui.computation import jobs as under_way
from robustness.ui.page import fragment
from robustness.ui.session.run_link import last_written, runs_folder
from robustness.ui.session.sentences import without_folders


@st.cache_resource(show_spinner="Reading the run …", max_entries=8)
def _opened(folder: str, run_id: str, written: int) -> runs.Run:
    return runs.find(Path(folder), run_id, unfinished=True)


def opened_run(run_id: str) -> runs.Run:
    """The run ``run_id``, finished or not; raises ``RunError`` if it cannot be read."""
    folder = runs_folder()
    return _opened(str(folder), run_id, last_written(folder, run_id))


def _unfinished(run: runs.Run) -> None:
    """The progress of a running run, or why it stopped, with the buttons."""
    if jobs.is_queued(run.folder):
        fragment(_under_way, run_every=under_way.SECONDS_BETWEEN)(run.folder)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(
            "This run is not finished. " + plain(without_folders(jobs.stop_reason(run.folder))),
            icon=":material/hourglass_bottom:",
        )
        under_way.buttons(run.folder, False, "page")


def _under_way(folder: Path) -> None:
    entry = next((e for e in jobs.read_queue(folder.parent) if e.run == folder.name), None)
    if entry is None:
        st.rerun()  # done or stopped
    with st.container(border=True, key="under-way"):
        st.progress(entry.share, text=plain(entry.text))
        if said := runs.listed(folder).race_results:
            st.markdown(plain(" ".join(said)))
        with st.container(horizontal=True, vertical_alignment="center"):
            under_way.buttons(folder, True, "page")
            st.caption("You can close this page: it continues.")


def show_state(run: runs.Run) -> None:
    """Draw the state of the run, above its figures."""
    if not run.finished:
        _unfinished(run)
    if run.imported:
        st.info(
            "Imported run: its rows come from another machine. Images are shown if they are in the "
            "folder of the setting *datasets*.",
            icon=":material/move_to_inbox:",
        )


def about(run: runs.Run) -> None:
    """The request, and how to share the run."""
    manifest = run.manifest
    names = ", ".join(models.label(name) for name in manifest.spec.model_names)
    took = f" · evaluated in {duration(run.seconds)}" if run.seconds >= 0.5 else ""
    st.caption(
        f"{plain(run.title)} · {plain(names)} · seed {manifest.spec.seed}{took} · {plain(run.id)}. "
        "To share it, copy the link: anyone with access to this server can open it."
    )
