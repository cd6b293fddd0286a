"""The Dataset page: a run in the making with its progress, and the runs that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from robustness import models, runs
from robustness.base.errors import RobustnessError, RunError
from robustness.base.pace import Pace, Unit
from robustness.evaluation.spec import make_spec
from robustness.pictures.picture import Picture
from robustness.runs import Listed, Manifest, Plan, Run
from robustness.runs.manifest import FILE as MANIFEST
from robustness.ui.dataset.request import Request, request_input
from robustness.ui.kit.run_link import RUN, runs_folder
from robustness.ui.kit.text import plain

FRAMES_AT_ONCE = 44
"""Pictures and their perturbed versions between two looks at the Cancel button."""

PATIENCE = 30.0
"""Seconds that a run waits for one of the same request that was cancelled and has yet to stop."""

WORK = "dataset work"
"""Key of the session's request that is being worked on."""


def new_run(model_names: Sequence[str], seed: int) -> None:
    """Draws the controls of a new run, and performs it once asked for."""
    with st.container(border=True, key="new-run"):
        try:
            request = request_input()
            plan = None if request is None else _planned(request, tuple(model_names), seed)
        except RobustnessError as error:
            st.error(plain(str(error)), icon=":material/folder_off:")
            return
        if plan is None:
            st.session_state.pop(WORK, None)
            return
        _begin(plan)


def _planned(request: Request, model_names: tuple[str, ...], seed: int) -> Plan:
    spec = make_spec(model_names, request.conditions, seed=seed, fit=request.fit)
    return runs.plan(
        request.source,
        spec,
        labelling=request.labelling,
        limit=request.limit,
        batch=max(1, FRAMES_AT_ONCE // (1 + len(request.conditions))),
    )


def _begin(plan: Plan) -> None:
    key = f"{plan.spec.digest} {plan.asked}"
    pictures, frames = plan.asked.pictures, 1 + len(plan.spec.conditions)
    passes = pictures * frames * len(plan.spec.models)
    size = (
        f"{pictures:,} picture{'s' * (pictures != 1)} × {len(plan.spec.conditions)} "
        f"condition{'s' * (frames != 2)} × {len(plan.spec.models)} "
        f"model{'s' * (len(plan.spec.models) != 1)}: {passes:,} forward passes."
    )
    working = st.session_state.get(WORK) == key
    with st.container(horizontal=True, vertical_alignment="center"):
        # It stays while the run is under way: a button that has the focus would be kept in its
        # place until then anyhow, and would jump away from under a click on Cancel.
        st.button(
            "Evaluate",
            type="primary",
            icon=":material/play_arrow:",
            key="evaluate",
            disabled=working,
            on_click=st.session_state.update,
            args=({WORK: key},),
        )
        st.caption(size)
    if working:
        _perform(plan, key)
    elif st.session_state.get("cancelled run") == key:
        st.warning(
            "Cancelled. What was done is kept: *Evaluate* goes on from there, and the run stands "
            "below as unfinished.",
            icon=":material/block:",
        )


def _perform(plan: Plan, key: str) -> None:
    """Performs or goes on with the run; a rerun of the page stops it between two chunks."""
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, text="Loading the models …")
        st.button("Cancel", key="cancel run", on_click=_cancel, args=(key,))
    pace = Pace(Unit("pictures"), plan.asked.pictures)
    try:
        with runs.start(plan, runs_folder(), resume=True, patience=PATIENCE) as session:
            for state in () if session.finished else session.perform():
                pace.note(state.done)
                text = "Loading the models …" if state.loading else f"Evaluating: {pace.text}"
                if state.unreadable:
                    text += f", {state.unreadable} unreadable"
                bar.progress(state.done / state.total, text=text)
    except RobustnessError as error:
        st.session_state.pop(WORK, None)
        place.error(plain(str(error)), icon=":material/error:")
        return
    st.session_state.pop(WORK, None)
    st.session_state.pop("cancelled run", None)
    st.query_params[RUN] = session.folder.name
    st.rerun()


def _cancel(key: str) -> None:
    st.session_state.pop(WORK, None)
    st.session_state["cancelled run"] = key


class Opened:
    """A run that is looked at: its rows and its list of pictures are read once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.id, self.conditions, self.seed = run.id, run.conditions, run.seed
        self.unreadable = run.unreadable
        self._frame = run.frame()

    def frame(self) -> pd.DataFrame:
        """One row a measurement, with the columns of one value each."""
        return self._frame

    def picture(self, image_id: str) -> Picture:
        """The study image called ``image_id``; raises ``RobustnessError`` if it is not there."""
        return self.run.picture(image_id)


@st.cache_resource(show_spinner="Reading the run …", max_entries=4)
def _opened(folder: str, run_id: str, written: int) -> Opened:
    return Opened(runs.find(Path(folder), run_id, unfinished=True))


def _written(folder: Path, run_id: str) -> int:
    """When the run last changed; 0 where there is none."""
    manifest = folder / Path(run_id).name / MANIFEST
    return manifest.stat().st_mtime_ns if manifest.exists() else 0


def saved_run() -> Opened | None:
    """The choice among the runs that are kept; the one that is open, with what it is."""
    folder = runs_folder()
    try:
        entries = runs.listing(folder)
    except RunError as error:
        st.error(plain(str(error)), icon=":material/folder_off:")
        return None
    known = [entry.folder.name for entry in entries if entry.manifest is not None]
    asked = st.query_params.get(RUN)
    if known or asked:
        st.subheader("Runs", anchor=False)
    _broken([entry for entry in entries if entry.manifest is None])
    if known:
        _choice(entries, known, asked)
    if asked is None:
        if known:
            st.info("Choose a run to see what it tells.", icon=":material/ads_click:")
        return None
    try:
        opened = _opened(str(folder), asked, _written(folder, asked))
    except RunError as error:
        st.error(plain(str(error)), icon=":material/link_off:")
        return None
    _about(opened.run)
    return opened


def _choice(entries: Sequence[Listed], known: Sequence[str], asked: str | None) -> None:
    titles = {e.folder.name: _title(e.title, e.manifest) for e in entries if e.manifest is not None}
    # The link decides, so that whatever set it, a finished run or a click, is what is shown.
    st.session_state["chosen run"] = asked if asked in titles else None
    st.selectbox(
        "Run",
        known,
        index=None,
        format_func=titles.__getitem__,
        key="chosen run",
        on_change=_open_chosen,
        placeholder=f"{len(known)} run{'s' * (len(known) != 1)} in the folder",
        label_visibility="collapsed",
    )


def _title(title: str, manifest: Manifest) -> str:
    done = manifest.images + manifest.unreadable
    state = "" if manifest.status == runs.FINISHED else f", unfinished: {done} done"
    return (
        f"{title}, {manifest.dataset.pictures:,} pictures, "
        f"{len(manifest.spec.models)} models, {len(manifest.spec.conditions)} conditions, "
        f"{manifest.created[:16].replace('T', ' ')} UTC{state}"
    )


def _open_chosen() -> None:
    chosen = st.session_state["chosen run"]
    if chosen is None:
        st.query_params.pop(RUN, None)
    else:
        st.query_params[RUN] = chosen


def _broken(entries: Sequence[Listed]) -> None:
    if entries:
        with st.expander(f"{len(entries)} folders are no runs", icon=":material/folder_off:"):
            for entry in entries:
                st.caption(plain(entry.reason))


def _about(run: Run) -> None:
    manifest = run.manifest
    asked = ", ".join(models.label(name) for name in manifest.spec.model_names)
    if not run.finished:
        done = run.images + len(run.unreadable)
        st.warning(
            f"This run is not finished: {done} of {manifest.dataset.pictures} pictures are done, "
            "and what follows counts these alone. The same request goes on with it.",
            icon=":material/hourglass_bottom:",
        )
    if run.imported:
        st.info(
            "This run was imported: another machine computed its rows. Its pictures are shown "
            "where they lie in the folder of the setting *datasets* here.",
            icon=":material/move_to_inbox:",
        )
    st.caption(
        f"{plain(run.title)} · {plain(asked)} · seed {manifest.spec.seed} · "
        f"{run.seconds:.1f} s of evaluation · {plain(run.id)}. The link holds the run: whoever "
        "opens it on this server sees the same."
    )
