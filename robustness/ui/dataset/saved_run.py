"""The choice of a saved run, and the state of the open one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from robustness import models, runs
from robustness.base.text import counted, plain
from robustness.base.time_left import duration
from robustness.runs import Manifest, jobs
from robustness.ui.computation import jobs as under_way
from robustness.ui.page import fragment
from robustness.ui.session.run_link import RUN, last_written, runs_folder, show_what_is_no_run
from robustness.ui.session.sentences import without_folders

_UNFINISHED = ", unfinished"


class Opened:
    """An open run, finished or not; ``written`` tells its rows from earlier ones."""

    def __init__(self, run: runs.Run, written: int) -> None:
        self.run = run
        self.written = written
        self.id = run.id


@st.cache_resource(show_spinner="Reading the run …", max_entries=4)
def _opened(folder: str, run_id: str, written: int) -> Opened:
    return Opened(runs.find(Path(folder), run_id, unfinished=True), written)


def saved_run() -> Opened | None:
    """The open run, if any, below the choice of runs."""
    folder = runs_folder()
    entries = runs.listing(folder)
    titles = {e.folder.name: _title(e.title, e.manifest) for e in entries if e.manifest is not None}
    asked = _linked(titles)
    show_what_is_no_run(entries)
    if titles:
        _choice(titles, asked)
    if asked is None:
        if titles:
            st.info("Choose a run to see its results.", icon=":material/ads_click:")
        return None
    opened = _opened(str(folder), asked, last_written(folder, asked))
    _state(opened.run)
    return opened


def _linked(titles: Mapping[str, str]) -> str | None:
    """The id of the run in the link, in which 0.13 wrote a run's title where that had changed."""
    asked = st.query_params.get(RUN)
    if asked is None or asked in titles:
        return asked
    title = asked.removesuffix(_UNFINISHED)
    found = next((n for n, t in titles.items() if t.removesuffix(_UNFINISHED) == title), None)
    if found is not None:
        st.query_params[RUN] = asked = found
    return asked


def _choice(titles: Mapping[str, str], asked: str | None) -> None:
    # The link decides, so that whatever set it, a finished run or a click, is what is shown.
    st.session_state["chosen run"] = asked if asked in titles else None
    st.selectbox(
        "Run",
        list(titles),
        index=None,
        format_func=titles.__getitem__,
        key="chosen run",
        on_change=_open_chosen,
        args=(titles,),
        placeholder=f"{counted(len(titles), 'run')} in the folder",
        label_visibility="collapsed",
    )


def _title(title: str, manifest: Manifest) -> str:
    # Without the number of images done: it grows while this list stays.
    state = "" if manifest.status == runs.FINISHED else _UNFINISHED
    return (
        f"{title}, {counted(manifest.dataset.pictures, 'image')}, "
        f"{counted(len(manifest.spec.models), 'model')}, "
        f"{counted(len(manifest.spec.conditions), 'condition')}, {manifest.how}, "
        f"{manifest.created[:16].replace('T', ' ')} UTC{state}"
    )


def _open_chosen(titles: Mapping[str, str]) -> None:
    chosen = st.session_state["chosen run"]
    if chosen is None:
        st.query_params.pop(RUN, None)
    elif chosen in titles:  # the browser may send the title that a run had before it ended
        st.query_params[RUN] = chosen


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
    under_way.said()


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
            st.caption("You can leave; reopen it from Runs.")


def _state(run: runs.Run) -> None:
    """The state of the run, above its figures."""
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
    asked = ", ".join(models.label(name) for name in manifest.spec.model_names)
    took = f" · evaluated in {duration(run.seconds)}" if run.seconds >= 0.5 else ""
    st.caption(
        f"{plain(run.title)} · {plain(asked)} · seed {manifest.spec.seed}{took} · {plain(run.id)}. "
        "To share it on this server, copy the link."
    )
