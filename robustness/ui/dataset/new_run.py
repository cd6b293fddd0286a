"""A run in the making: what would be evaluated, and the evaluation with its progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from robustness import runs
from robustness.base.access import Action
from robustness.base.pace import Pace, Unit
from robustness.base.text import counted
from robustness.datasets import SAMPLES, Dataset, open_dataset
from robustness.evaluation.spec import RunSpec, make_spec
from robustness.runs import Plan, keeping
from robustness.ui.dataset.request import Request, request_input
from robustness.ui.dataset.uploads import clean
from robustness.ui.kit import access
from robustness.ui.kit.page import boundary
from robustness.ui.kit.run_link import RUN, runs_folder
from robustness.ui.kit.work import Work

FRAMES_AT_ONCE = 44
"""Pictures and their perturbed versions between two looks at the Cancel button."""

PATIENCE = 30.0
"""Seconds that a run waits for one of the same request that was cancelled and has yet to stop."""


def new_run(model_names: Sequence[str], seed: int) -> None:
    """Draws the controls of a new run, and performs it once asked for."""
    clean()
    with st.container(border=True, key="new-run"), boundary(":material/folder_off:"):
        request = request_input()
        if request is not None:
            spec = make_spec(model_names, request.conditions, seed=seed, fit=request.fit)
            _begin(request, spec)


def _written(source: str) -> tuple[int, ...]:
    """When the file ``source``, or the folder and the folders right in it, last changed."""
    path = Path(source)
    if source == SAMPLES or not path.exists():
        return ()
    folders = [each for each in path.iterdir() if each.is_dir()] if path.is_dir() else []
    return tuple(each.stat().st_mtime_ns for each in (path, *sorted(folders)))


@st.cache_resource(show_spinner=False, max_entries=4)
def _listed(source: str, written: tuple[int, ...]) -> Dataset:
    return open_dataset(source)


@st.cache_resource(
    show_spinner=False, max_entries=8, hash_funcs={RunSpec: lambda spec: spec.digest}
)
def _planned(request: Request, spec: RunSpec, written: tuple[int, ...]) -> Plan:
    """What the run would do."""
    return runs.plan(
        _listed(request.source, written),
        spec,
        labelling=request.labelling,
        limit=request.limit,
        batch=max(1, FRAMES_AT_ONCE // (1 + len(spec.conditions))),
    )


def _begin(request: Request, spec: RunSpec) -> None:
    plan = _planned(request, spec, _written(request.source))
    pictures, conditions, asked = plan.asked.pictures, len(spec.conditions), len(spec.models)
    size = (
        f"{counted(pictures, 'picture')} × {counted(conditions, 'condition')} × "
        f"{counted(asked, 'model')}: {pictures * (1 + conditions) * asked:,} forward passes."
    )
    work = Work("Evaluating", f"{request} {spec.digest}")
    with st.container(horizontal=True, vertical_alignment="center"):
        # It stays while the run is under way: a button that has the focus would be kept in its
        # place until then anyhow, and would jump away from under a click on Cancel.
        st.button(
            "Evaluate",
            type="primary",
            icon=":material/play_arrow:",
            key="evaluate",
            on_click=_ask,
            args=(work,),
            **access.allowed(Action.EVALUATE, disabled=work.asked),
        )
        st.caption(size)
    if work.asked:
        with boundary():
            _perform(plan, work)
    elif work.cancelled:
        st.warning(
            "Cancelled. What was done is kept: *Evaluate* continues from there, and the run stands "
            "below as unfinished.",
            icon=":material/block:",
        )


def _ask(work: Work) -> None:
    """Has the run be done, of what its source holds now."""
    if access.refused(Action.EVALUATE):
        return
    _listed.clear()
    _planned.clear()
    work.ask()


def _perform(plan: Plan, work: Work) -> None:
    """Performs or continues the run; a rerun of the page stops it between two chunks."""
    access.require(Action.EVALUATE, thing=plan.asked.title)
    keeping.check_begin(runs_folder(), plan.asked.pictures)
    pace = Pace(Unit("pictures"), plan.asked.pictures)
    begin = runs.start(plan, runs_folder(), resume=True, patience=PATIENCE, creator=access.me())
    with work.bar("Loading the models …") as show, begin as session:
        for state in () if session.finished else session.perform():
            pace.note(state.done)
            text = "Loading the models …" if state.loading else f"Evaluating: {pace.text}"
            if state.unreadable:
                text += f", {state.unreadable} unreadable"
            show(state.done / state.total, text)
    st.query_params[RUN] = session.folder.name
    st.rerun()
