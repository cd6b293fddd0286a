"""The buttons below "What should we fix?", which measure what the run has not measured."""

from __future__ import annotations

import streamlit as st

from robustness import models, runs
from robustness.base.permissions import Action
from robustness.base.text import counted, plain
from robustness.report.questions import RunFigures
from robustness.report.questions.fixes import (
    CALIBRATION,
    FIXES,
    OTHER_MODEL,
    REMEDIES,
    REMEDY,
    calibration_sentence,
)
from robustness.runs import Run
from robustness.runs.calibrations import add_calibrated, calibrate, free_name, read_calibrations
from robustness.ui.computation import jobs
from robustness.ui.computation.progress import Work
from robustness.ui.evaluations import run_table
from robustness.ui.page import boundary
from robustness.ui.session import access
from robustness.ui.session.inputs import listed

_SAID = "what a calibration said"


def show(of: RunFigures) -> None:
    """Draw a button for each kind of fix that is open; training has its form."""
    run = of.run
    if not run.finished:
        return
    fixes = [fix for fix in of.answer(FIXES).fixes if fix.command]
    kinds = {fix.kind for fix in fixes}
    tries = REMEDY in kinds and st.button(
        "Try remedies",
        icon=":material/healing:",
        **access.allowed(
            Action.EVALUATE,
            key="try remedies",
            help=f"Evaluates the run again with {', '.join(REMEDIES)}, in the background.",
        ),
    )
    if tries:
        with boundary():
            plan = runs.reevaluation_plan(run.manifest, remedies=REMEDIES)
            run_table.choose(jobs.submit([plan])[:1])
            st.rerun()  # the whole page, which shows the new run
    if OTHER_MODEL in kinds and st.button(
        "Evaluate with another model", icon=":material/compare:", key="other model"
    ):
        st.session_state[run_table.FORM] = True
        st.rerun()
    if names := [fix.model for fix in fixes if fix.kind == CALIBRATION]:
        _calibration(run, names)
    if said := st.session_state.get(_SAID, {}).get(run.id):
        st.caption(plain(said))


def _calibration(run: Run, names: list[str]) -> None:
    """Draw the choice of a model and the button; fit the temperature once asked to."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = {name: models.label(name) for name in names}
        model = listed("Model to calibrate", labels, "calibrated model")
        work = Work("calibration", f"{run.id} {model}")
        st.button(
            "Calibrate and add",
            icon=":material/thermostat:",
            on_click=work.ask,
            **access.allowed(
                Action.CHANGE_MODELS,
                key="calibrate",
                help="Fits a temperature on half of the labelled originals, by one more pass. If "
                "the others gain, the model with it is added.",
            ),
        )
    if not work.requested:
        return
    with boundary():
        access.require(Action.CHANGE_MODELS)
        with work.bar("Loading the model …") as progress:

            def note(done: int, total: int) -> None:
                progress(done / max(1, total), f"{done} of {counted(total, 'original')}")

            fit = read_calibrations(run).get(model) or calibrate(run, model, note)
            text = calibration_sentence(fit)
            if fit.helpful and not fit.added:
                text += f" Added as {add_calibrated(fit, free_name(model)).name}."
        st.session_state[_SAID] = {run.id: text}
        st.rerun()
