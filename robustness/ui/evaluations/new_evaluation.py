"""The form of a new run: its size, and the start button."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from robustness import runs
from robustness.base.errors import LabelError, ParameterError
from robustness.base.permissions import Action
from robustness.base.text import counted, plain
from robustness.evaluation.request import OWN_PREPROCESSING, Request, make_spec
from robustness.runs import Plan, forecast
from robustness.ui.computation import jobs
from robustness.ui.computation.cache import cached
from robustness.ui.evaluations import match, preflight, run_table
from robustness.ui.evaluations.request import (
    DEFAULTS,
    MATCH,
    QUESTION,
    RELEASE,
    WITHOUT_CLASSES,
    RunForm,
    question_input,
    request_input,
    side_note,
)
from robustness.ui.evaluations.run_table import FORM, PROFILE
from robustness.ui.page import boundary
from robustness.ui.session import access
from robustness.ui.session.run_link import RUN, runs_folder

FRAMES_AT_ONCE = 44
"""Images and their perturbed versions between two checks for cancelling."""


def is_open(has_runs: bool) -> bool:
    """Whether the form is open: on request, for a link to it, and while there is no run.

    A profile in the link opens it for as long as it is there.
    """
    requested = any(name in st.query_params for name in ("source", QUESTION))
    opened = any(name in st.query_params for name in (RUN, run_table.COMPARE, PROFILE))
    is_open = st.session_state.setdefault(FORM, requested and not opened)
    return bool(is_open or not has_runs or PROFILE in st.query_params)


def button(has_runs: bool) -> None:
    """Draw the button that opens the form, or closes it; none while the form is all there is."""
    if not has_runs:
        return
    opened = is_open(has_runs)
    st.button(
        "Close" if opened else "New evaluation",
        key="open form",
        type="secondary" if opened else "primary",
        icon=":material/close:" if opened else ":material/add:",
        on_click=_toggle,
        args=(not opened,),
    )


def _toggle(opens: bool) -> None:
    st.session_state[FORM] = opens
    st.query_params.pop(PROFILE, None)
    if st.session_state.pop(DEFAULTS, None) == RELEASE and not opens:
        run_table.forget_limits()  # they were for the run that is not begun


def form() -> None:
    """Draw the controls of a new evaluation and start it on demand."""
    with (
        st.container(border=True, key="new-evaluation"),
        boundary(":material/folder_off:"),
    ):
        question = question_input()
        if question == MATCH:
            match.form()
            return
        request = request_input(question)
        if request is not None:
            spec = make_spec(
                request.models,
                request.conditions,
                seed=request.seed,
                fit=request.fit,
                side=request.side,
                remedies=request.remedies,
            )
            if note := side_note(spec):
                st.info(plain(note), icon=":material/aspect_ratio:")
            _begin(request, spec)


@cached(8)
def _planned(
    request: RunForm, digest: str, written: tuple[int, ...], _spec: Request, _look: preflight.Look
) -> tuple[Plan, str]:
    """The plan of the run of ``_spec``, whose ``digest`` is in the key, and what it reads."""
    try:
        plan = runs.plan(
            preflight.dataset_of(request.source, written),
            _spec,
            labelling=request.labelling,
            limit=request.limit,
            batch=max(1, FRAMES_AT_ONCE // (len(_spec.by_framing) * (1 + len(_spec.conditions)))),
        )
    except LabelError as error:
        raise LabelError(f"{error} {WITHOUT_CLASSES}") from error
    return plan, preflight.summary(plan, _look)


@cached(8, "Looking at the images …")
def _looked(source: str, written: tuple[int, ...]) -> preflight.Look:
    return preflight.look(preflight.dataset_of(source, written))


@cached(32, seconds=60)
def _forecast(folder: Path, request_json: str, images: int, _plan: Plan) -> forecast.Forecast:
    """What the run will take; the list of runs is not read at every click."""
    return forecast.from_earlier(_plan, folder)


def _begin(request: RunForm, spec: Request) -> None:
    """Draw the start button of a run of ``spec``."""
    written = preflight.last_written(request.source)
    looked = _looked(request.source, written)
    if looked.nothing:
        title = preflight.dataset_of(request.source, written).title
        raise ParameterError(
            f"Expected at least one readable image in {title}, got "
            f"{counted(looked.tried, 'file')} that cannot be read. {looked.reasons[0]}"
        )
    try:
        plan, summary = _planned(request, spec.digest, written, spec, looked)
    except LabelError:
        preflight.show(looked)  # the images can be read all the same
        raise
    estimate = _forecast(runs_folder(), plan.spec.digest, len(plan.dataset), plan)
    size = f"{estimate.size}. Time: {estimate.time}. Disk: {estimate.disk}."
    if len(spec.by_framing) > 1:
        size += f" {OWN_PREPROCESSING.capitalize()}."
    st.markdown(f"**{plain(summary)}**")
    buttons = st.container(horizontal=True, vertical_alignment="center")
    preflight.show(looked)
    with buttons:
        pressed = st.button(
            "Evaluate",
            type="primary",
            icon=":material/play_arrow:",
            **access.allowed(Action.EVALUATE, key="evaluate"),
        )
        st.caption(f"{size} Runs in the background. You can close this page.")
    if pressed:
        preflight.dataset_of.clear()  # evaluate the current content of the source
        _planned.clear()
        written = preflight.last_written(request.source)
        plan, _ = _planned(request, spec.digest, written, spec, looked)
        first = jobs.submit([plan])
        run_table.choose(first, with_limits=st.session_state[QUESTION] == RELEASE)
        st.rerun()
