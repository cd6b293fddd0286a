"""What is below "What should we fix?": buttons that measure what the run lacks, and training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import streamlit as st

from robustness import hardening, models, runs
from robustness.api.runs import weakest_perturbations
from robustness.base.errors import ParameterError
from robustness.base.options import options_of
from robustness.base.roles import Action
from robustness.base.text import counted, join_names, plain, some
from robustness.hardening import Hardening, Settings
from robustness.measure.options import TrainingOptions
from robustness.perturbations import REGISTRY
from robustness.report import harden
from robustness.report.fixes import CALIBRATION, FIXES, OTHER_MODEL, REMEDIES, REMEDY
from robustness.report.run import RunFigures
from robustness.runs import Analysis, Listed, Run, TrainingRequest
from robustness.runs.calibrate import add_calibrated, calibrate, free_name
from robustness.ui import draw, session
from robustness.ui import jobs as ui_jobs
from robustness.ui.evaluations import table
from robustness.ui.evaluations.inputs import source_input
from robustness.ui.frame import boundary
from robustness.ui.inputs import other_inputs
from robustness.ui.jobs import Work
from robustness.ui.session import RUN, do, listed, page_link


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
    calibrations = Analysis(run).calibrations
    added = []
    for model_name in model_names:
        record = add_calibrated(calibrations[model_name], free_name(model_name))
        added.append(record.name)
    return f"Added {join_names(added, len(added))}."


# --- training -------------------------------------------------------------------------------------


_FEWEST_JUDGING = 40
"""Labelled images of a run from which they judge."""


def refusal(entry: Listed) -> str:
    """Why this session may not see ``entry``; "" if it may.

    Trainings are for those who may add models, anything else is for all.
    """
    if entry.kind != "training":
        return ""
    return session.refusal(Action.CHANGE_MODELS)


def show_training(entry: Listed, request: TrainingRequest) -> None:
    """Draw the progress or the answer of a training, and what can be done with it."""
    refused = refusal(entry)
    if refused:
        st.info(plain(refused), icon=":material/lock:")
        return
    _draw_state(entry.folder, request)
    answer = request.answer(entry.folder)
    if answer is not None:
        _draw_sentences(answer)
    with st.container(horizontal=True, vertical_alignment="center"):
        if (entry.folder.parent / request.run).is_dir():
            link = {RUN: request.run}
            page_link("pages/evaluations.py", "Open the run", ":material/analytics:", link)
        if answer is not None:
            _draw_link(answer)
        with st.popover("Manage", icon=":material/more_horiz:"):
            table.manage(entry)
    if answer is not None:
        draw.draw(harden.blocks(answer))
    labels = [REGISTRY[name].label if name in REGISTRY else name for name in request.perturbations]
    st.caption(
        f"{plain(models.label(request.model))} · {plain(', '.join(labels))} · {request.how} · "
        f"{plain(entry.folder.name)}"
    )


def _training(figures: RunFigures) -> None:
    """Draw the training under way, or the answer of the last one and the form.

    Nothing is drawn for those who may not add models.
    """
    run = figures.run
    if session.refusal(Action.CHANGE_MODELS) or run.is_from_table:
        return
    st.header("Train a model to be more robust", anchor=False)
    st.caption("Teaches a copy of a model to ignore perturbations.")
    trainings = runs.trainings_of(run.folder)
    if trainings:
        folder, request = trainings[0]
        is_active = _draw_state(folder, request)
        if is_active:
            return
    answer = runs.last_trained(run.folder)
    title = "Train a model on images without labels"
    if answer is not None:
        title = "Train another model"
        _draw_sentences(answer)
        _draw_link(answer)
        draw.draw(harden.blocks(answer))
    with st.expander(title):
        _training_form(figures)


def _draw_state(folder: Path, request: TrainingRequest) -> bool:
    """Draw the progress of an unfinished training, or why it stopped; return whether it goes on."""
    # Before the answer is read: the other way round, work that ends in between would seem to have
    # stopped without one.
    is_active = ui_jobs.is_active(folder)
    if is_active:
        ui_jobs.progress(folder, "the training continues")
    elif request.answer(folder) is None:
        ui_jobs.stopped(folder, "The training stopped.")
    return is_active


def _draw_sentences(answer: Hardening) -> None:
    headline, *others = harden.sentences(answer)
    st.html(draw.headline(headline))
    st.markdown(plain(" ".join(others)))


def _draw_link(answer: Hardening) -> None:
    """Draw the link to the trained model, unless it was removed."""
    if answer.name in models.REGISTRY:
        label = f"See {plain(answer.name)} on Models"
        page_link("pages/models.py", label, ":material/model_training:", {})


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
        chosen = other_inputs(TrainingOptions, {})
    is_labelled = any(entry["clean_accuracy"] is not None for entry in figures.statistics.summary)
    judging_source = ""
    if is_labelled and run.images >= _FEWEST_JUDGING:
        judging_source = run.manifest.dataset.source
    if judging_source and str(source) == judging_source:
        st.caption("These images judge the result. Choose others to train on.")
        source = None
    if judging_source:
        judging = "The labelled images of this run judge the result."
    else:
        judging = f"Without {_FEWEST_JUDGING} labelled images in this run, nothing is recommended."
    st.caption(f"300 images take about 15 minutes on two cores. {judging}")
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
            request = TrainingRequest(
                title=f"Training of {name}",
                run=run.folder.name,
                model=parent,
                name=name,
                source=str(source),
                judging_source=judging_source,
                perturbations=tuple(perturbations),
                settings=Settings(**options_of(TrainingOptions, chosen)),
            )
            ui_jobs.submit([request])
            st.rerun()


def _free_hardened_name(parent: str) -> str:
    """The first of ``parent``Hardened, Hardened2, Hardened3 that no model has."""
    name = f"{parent}Hardened"
    number = 2
    while name in models.REGISTRY:
        name = f"{parent}Hardened{number}"
        number += 1
    return name
