"""Links between pages, and the run and image that a link may name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from robustness import models, runs
from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.pictures.picture import Picture
from robustness.runs import notes
from robustness.ui.session.sentences import sentence

RUN, IMAGE = "run", "image"
"""Link parameters: the id of a run, and the name of an image in it."""

UPLOAD = "upload"
"""Link parameter for an upload: "own", or the id of its shared copy."""


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


def page_link(page: str, label: str, icon: str, query: Mapping[str, Any]) -> None:
    """Draw a link to another page; nothing where a page runs alone as the main script."""
    with contextlib.suppress(StreamlitAPIException):
        st.page_link(page, label=label, icon=icon, query_params=query)


def linked_run() -> None:
    """Link to the run that this page's link names, on pages other than the run's own."""
    run_id = st.query_params.get(RUN)
    if run_id is None:
        return
    if _is_there(run_id):
        label = f"Open the run {plain(run_id)}"
        page_link("pages/evaluations.py", label, ":material/analytics:", {RUN: run_id})
    elif IMAGE not in st.query_params:  # else its image is missed
        st.warning(f"There is no run {plain(run_id)} here.", icon=":material/link_off:")


def _is_there(run_id: str) -> bool:
    with contextlib.suppress(RobustnessError):  # not a valid run id
        return last_written(runs_folder(), run_id) > 0
    return False


def linked_picture() -> list[Picture]:
    """The image that the link names, if any; shows a warning if it cannot be read."""
    try:
        linked = _linked()
    except RobustnessError as error:
        st.warning(plain(sentence(error)), icon=":material/link_off:")
        return []
    return [linked[0]] if linked else []


def linked_class(picture: Picture) -> str | None:
    """The true class of ``picture`` in the link's run, if known."""
    with contextlib.suppress(RobustnessError):
        linked = _linked()
        return linked[1] if linked and linked[0].digest == picture.digest else None
    return None


def _linked() -> tuple[Picture, str | None] | None:
    """The image that the link names and its true class; raises if it cannot be read."""
    run_id, name = st.query_params.get(RUN), st.query_params.get(IMAGE)
    if run_id is None or name is None:
        return None
    folder = runs_folder()
    return _picture(str(folder), run_id, last_written(folder, run_id), name)


@st.cache_resource(show_spinner=False, max_entries=32)
def _picture(folder: str, run_id: str, written: int, name: str) -> tuple[Picture, str | None]:
    run = runs.find(Path(folder), run_id, unfinished=True)
    return run.picture(name), _class(run, name)


def _class(run: runs.Run, name: str) -> str | None:
    """The true class of the image ``name`` in ``run``, if known.

    Looks at one model for each set of classes, as a set may lack the class.
    """
    registered = [m for m in run.manifest.spec.model_names if m in models.REGISTRY]
    positions = [position for position, image in run.rows.names.items() if image == name]
    for labels, (model, *_) in models.by_labels(registered) if positions else ():
        query = "SELECT label FROM rows WHERE model = $model AND position = $position LIMIT 1"
        ((label,),) = run.rows.ask(query, model=model, position=positions[0]) or [(None,)]
        if label is not None:
            return labels.names[label]
    return None


def last_written(folder: Path, run_id: str) -> int:
    """When the run was last written, in nanoseconds since 1970; 0 if there is none.

    Cached data of a run needs it, as a run's id may be reused. Raises ``RunError`` for an invalid
    id.
    """
    try:
        return (runs.place(folder, run_id) / runs.MANIFEST_FILE).stat().st_mtime_ns
    except OSError:
        return 0


def show_what_is_no_run(entries: Sequence[runs.Listed]) -> None:
    """List the folders among ``entries`` that cannot be opened as runs, with the reasons."""
    broken = [entry for entry in entries if entry.manifest is None]
    if broken:
        several = "folders that are not runs" if len(broken) > 1 else "folder that is not a run"
        with st.expander(f"{len(broken)} {several}", icon=":material/folder_off:"):
            for entry in broken:
                st.caption(plain(f"{entry.folder.name}: {entry.reason}"))


def leave() -> None:
    """Remove the run's image and the upload from the link, as another image was chosen."""
    for name in (RUN, IMAGE, UPLOAD):
        st.query_params.pop(name, None)
