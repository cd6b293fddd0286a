"""What is below "What should we fix?": buttons that measure what the run lacks, and training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from robustness import hardening, models, runs
from robustness.api.runs import weakest_perturbations
from robustness.base.errors import ParameterError
from robustness.base.roles import Action
from robustness.base.text import counted, join_names, plain, some
from robustness.base.validation import read_json
from robustness.hardening import Hardening
from robustness.perturbations import REGISTRY
from robustness.report import harden
from robustness.report.fixes import CALIBRATION, FIXES, OTHER_MODEL, REMEDIES, REMEDY
from robustness.report.run import RunFigures
from robustness.runs import Run
from robustness.runs import jobs as run_jobs
from robustness.runs.calibrate import add_calibrated, calibrate, free_name, read_calibrations
from robustness.ui import draw, session
from robustness.ui import jobs as ui_jobs
from robustness.ui.evaluations import table
from robustness.ui.evaluations.inputs import source_input
from robustness.ui.frame import boundary
from robustness.ui.jobs import Work
from robustness.ui.session import do, listed, page_link


def show(figures: RunFigures) -> None:
    """Draw the buttons that test what is open, for all models at once, and the training."""
    run = figures.run
    if not run.finished:
        return
    open_fixes = [fix for fix in figures.answer(FIXES).fixes if fix.command]
    kinds = {fix.kind for fix in open_fixes}
    to_fit = []
    to_add = []
    for fix in open_fixes:
        if fix.kind == CALIBRATION:
            if fix.measured:
                to_add.append(fix.model)
            else:
                to_fit.append(fix.model)
    calibration = Work("calibration", run.id)
    tests_remedies = False
    with st.container(horizontal=True):
        if REMEDY in kinds:
            tests_remedies = st.button(
                "Test image filters in a new run",
                icon=":material/healing:",
                **session.allowed(
                    Action.EVALUATE,
                    key="try remedies",
                    help=f"Evaluates the run again with {', '.join(REMEDIES)}, in the background.",
                ),
            )
        if to_fit:
            st.button(
                "Test temperature scaling in this run",
                icon=":material/thermostat:",
                on_click=calibration.ask,
                **session.allowed(
                    Action.MEASURE,
                    key="calibrate",
                    help="Fits a temperature to half of the labelled originals, by one more pass "
                    f"of {counted(len(to_fit), 'model')}. The other half judges it.",
                ),
            )
        if to_add:
            st.button(
                f"Add {counted(len(to_add), 'calibrated model')}",
                icon=":material/add:",
                on_click=do,
                args=(_add_calibrated, run, to_add),
                **session.allowed(Action.CHANGE_MODELS, key="add calibrated"),
            )
        if OTHER_MODEL in kinds:
            opens_form = st.button(
                "Evaluate with another model", icon=":material/compare:", key="other model"
            )
            if opens_form:
                st.session_state[table.FORM] = True
                st.rerun()
    if tests_remedies:
        with boundary():
            plan = runs.reevaluation_plan(run.manifest, remedies=REMEDIES)
            table.choose(ui_jobs.submit([plan])[:1])
            st.rerun()  # the whole page, which shows the new run
    if calibration.requested:
        _fit(run, to_fit, calibration)
    _training(figures)


def _fit(run: Run, model_names: Sequence[str], calibration: Work) -> None:
    """Fit the temperatures of models; the page then shows what they gain."""
    with boundary():
        session.require(Action.MEASURE)
        with calibration.bar("Loading the models …") as progress:
            for index, model_name in enumerate(model_names):

                def note(
                    done: int, total: int, index: int = index, model_name: str = model_name
                ) -> None:
                    share = (index + done / max(1, total)) / len(model_names)
                    originals = counted(total, "original")
                    progress(share, f"{models.label(model_name)}: {done} of {originals}")

                calibrate(run, model_name, note)
        st.rerun()


def _add_calibrated(run: Run, model_names: Sequence[str]) -> str:
    """Add the calibrated models, and return the sentence that says so."""
    session.require(Action.CHANGE_MODELS)
    calibrations = read_calibrations(run)
    added = []
    for model_name in model_names:
        record = add_calibrated(calibrations[model_name], free_name(model_name))
        added.append(record.name)
    return f"Added {join_names(added, len(added))}."


# --- training -------------------------------------------------------------------------------------


_FEWEST_JUDGING = 40
"""Labelled images of a run from which they judge."""


def _training(figures: RunFigures) -> None:
    """Draw the job under way, or the answer of the last one and the form.

    Nothing is drawn for those who may not add models.
    """
    run = figures.run
    if session.refusal(Action.CHANGE_MODELS) or run.is_from_table:
        return
    st.header("Train a model to be more robust", anchor=False)
    st.caption("Teaches a copy of a model to ignore perturbations.")
    if run_jobs.is_queued(run.folder):
        ui_jobs.progress(run.folder, "the training continues")
        return
    if run_jobs.is_hardening(run.folder):
        ui_jobs.stopped(run.folder, "The training stopped.")
    answer = read_json(Hardening, run.folder / run_jobs.HARDENED)
    title = "Train a model on images without labels"
    if answer is not None:
        title = "Train another model"
        headline, *others = harden.sentences(answer)
        st.html(draw.headline(headline))
        st.markdown(plain(" ".join(others)))
        if answer.name in models.REGISTRY:
            label = f"See {plain(answer.name)} on Models"
            page_link("pages/models.py", label, ":material/model_training:", {})
        draw.draw(harden.blocks(answer))
    with st.expander(title):
        _training_form(figures)


def _training_form(figures: RunFigures) -> None:
    """Draw the controls of a training, and queue it once its button is pressed."""
    run = figures.run
    left, right = st.columns(2, gap="large")
    labels = {}
    for model_name in run.manifest.spec.model_names:
        if model_name in models.REGISTRY:
            labels[model_name] = models.label(model_name)
    if not labels:
        st.caption("The models of this run are not on this server.")
        return
    with left:
        source = source_input("Images to train on", "harden_", samples=False)
        st.caption("At least 20, better 300 or more. Labels are not used.")
    with right:
        parent = listed("Model", labels, "harden_model")
        free_name = _free_hardened_name(parent)
        name = st.text_input("Name", free_name, key=f"harden_name {free_name}").strip()
        perturbation_labels = {record.name: record.label for record in REGISTRY}
        weakest: Sequence[str] = ()
        with suppress(ParameterError):
            weakest = weakest_perturbations(parent, run)
        perturbations = st.multiselect(
            "Perturbations",
            list(perturbation_labels),
            list(weakest),
            format_func=perturbation_labels.__getitem__,
            key=f"harden_perturbations {parent}",
            help="Default: the five with the lowest rate in this run. Leave some families out: "
            "their perturbations judge the result.",
        )
    is_labelled = any(entry["clean_accuracy"] is not None for entry in figures.statistics.summary)
    judging_source = ""
    if is_labelled and run.images >= _FEWEST_JUDGING:
        judging_source = run.manifest.dataset.source
    if judging_source:
        judging = "The labelled images of this run judge the result."
    else:
        judging = f"Without {_FEWEST_JUDGING} labelled images in this run, nothing is recommended."
    st.caption(f"Takes about 15 minutes on two cores. {judging}")
    needs = {"images to train on": source, "perturbations": perturbations, "a name": name}
    missing = [need for need, value in needs.items() if not value]
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Train",
            type="primary",
            icon=":material/fitness_center:",
            **session.allowed(Action.CHANGE_MODELS, key="harden", disabled=bool(missing)),
        )
        if missing:
            st.caption(f"Still needed: {some(missing, len(missing))}.")
    if pressed:
        with boundary():
            hardening.check_name(name)  # refused here rather than in the job
            hardening.unseen_conditions(perturbations)
            arguments = [parent, "--images", str(source), "--name", name]
            if judging_source:
                arguments += ["--judge", judging_source]
            arguments += ["--perturbations", ",".join(perturbations)]
            ui_jobs.submit_hardening(run.folder, arguments)
            st.rerun()


def _free_hardened_name(parent: str) -> str:
    """The first of ``parent``Hardened, Hardened2, Hardened3 that no model has."""
    name = f"{parent}Hardened"
    number = 2
    while name in models.REGISTRY:
        name = f"{parent}Hardened{number}"
        number += 1
    return name
