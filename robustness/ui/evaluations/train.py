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


def show(of: RunFigures) -> None:
    """Draw the buttons that test what is open, for all models at once, and the training."""
    run = of.run
    if not run.finished:
        return
    fixes = [fix for fix in of.answer(FIXES).fixes if fix.command]
    kinds = {fix.kind for fix in fixes}
    calibrations = [fix for fix in fixes if fix.kind == CALIBRATION]
    fit = Work("calibration", run.id)
    tries = False
    with st.container(horizontal=True):
        if REMEDY in kinds:
            tries = st.button(
                "Test image filters in a new run",
                icon=":material/healing:",
                **session.allowed(
                    Action.EVALUATE,
                    key="try remedies",
                    help=f"Evaluates the run again with {', '.join(REMEDIES)}, in the background.",
                ),
            )
        if not_fitted := [fix.model for fix in calibrations if not fix.measured]:
            st.button(
                "Test temperature scaling in this run",
                icon=":material/thermostat:",
                on_click=fit.ask,
                **session.allowed(
                    Action.MEASURE,
                    key="calibrate",
                    help="Fits a temperature to half of the labelled originals, by one more pass "
                    f"of {counted(len(not_fitted), 'model')}. The other half judges it.",
                ),
            )
        if helpful := [fix.model for fix in calibrations if fix.measured]:
            st.button(
                f"Add {counted(len(helpful), 'calibrated model')}",
                icon=":material/add:",
                on_click=do,
                args=(_add_calibrated, run, helpful),
                **session.allowed(Action.CHANGE_MODELS, key="add calibrated"),
            )
        if OTHER_MODEL in kinds and st.button(
            "Evaluate with another model", icon=":material/compare:", key="other model"
        ):
            st.session_state[table.FORM] = True
            st.rerun()
    if tries:
        with boundary():
            plan = runs.reevaluation_plan(run.manifest, remedies=REMEDIES)
            table.choose(ui_jobs.submit([plan])[:1])
            st.rerun()  # the whole page, which shows the new run
    if fit.requested:
        _fit(run, not_fitted, fit)
    _training(of)


def _fit(run: Run, names: Sequence[str], fit: Work) -> None:
    """Fit the temperatures of the models ``names``; the page then shows what they gain."""
    with boundary():
        session.require(Action.MEASURE)
        with fit.bar("Loading the models …") as progress:
            for place, name in enumerate(names):

                def note(done: int, total: int, place: int = place, name: str = name) -> None:
                    share = (place + done / max(1, total)) / len(names)
                    progress(share, f"{models.label(name)}: {done} of {counted(total, 'original')}")

                calibrate(run, name, note)
        st.rerun()


def _add_calibrated(run: Run, names: Sequence[str]) -> str:
    session.require(Action.CHANGE_MODELS)
    fits = read_calibrations(run)
    added = [add_calibrated(fits[name], free_name(name)).name for name in names]
    return f"Added {join_names(added, len(added))}."


# --- training -------------------------------------------------------------------------------------


_FEWEST_JUDGING = 40
"""Labelled images of a run from which they judge."""


def _training(of: RunFigures) -> None:
    """Draw the form, the job under way, or the answer.

    Nothing is drawn for those who may not add models.
    """
    run = of.run
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
    if answer is not None:
        first, *rest = harden.sentences(answer)
        st.html(draw.headline(first))
        st.markdown(plain(" ".join(rest)))
        if answer.name in models.REGISTRY:
            label = f"See {plain(answer.name)} on Models"
            page_link("pages/models.py", label, ":material/model_training:", {})
        draw.draw(harden.blocks(answer))
    with st.expander("Train another model" if answer else "Train a model on images without labels"):
        _training_form(of)


def _training_form(of: RunFigures) -> None:
    run = of.run
    left, right = st.columns(2, gap="large")
    names = [name for name in run.manifest.spec.model_names if name in models.REGISTRY]
    if not names:
        st.caption("The models of this run are not on this server.")
        return
    with left:
        source = source_input("Images to train on", "harden_", samples=False)
        st.caption("At least 20, better 300 or more. Labels are not used.")
    with right:
        labels = {name: models.label(name) for name in names}
        model = listed("Model", labels, "harden_model")
        free = (f"{model}Hardened{number or ''}" for number in (0, *range(2, 10**6)))
        new = next(name for name in free if name not in models.REGISTRY)
        name = st.text_input("Name", new, key=f"harden_name {new}").strip()
        families = {record.name: record.label for record in REGISTRY}
        weakest: Sequence[str] = ()
        with suppress(ParameterError):
            weakest = weakest_perturbations(model, run)
        chosen = st.multiselect(
            "Perturbations",
            list(families),
            list(weakest),
            format_func=families.__getitem__,
            key=f"harden_perturbations {model}",
            help="Default: the five with the lowest rate in this run. Leave some families out: "
            "their perturbations judge the result.",
        )
    labelled = any(entry["clean_accuracy"] is not None for entry in of.statistics.summary)
    judge = run.manifest.dataset.source if labelled and run.images >= _FEWEST_JUDGING else ""
    st.caption(
        "Takes about 15 minutes on two cores. "
        + (
            "The labelled images of this run judge the result."
            if judge
            else f"Without {_FEWEST_JUDGING} labelled images in this run, nothing is recommended."
        )
    )
    needs = {"images to train on": source, "perturbations": chosen, "a name": name}
    missing = [what for what, value in needs.items() if not value]
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
            hardening.unseen_conditions(chosen)
            judging = ["--judge", judge] if judge else []
            arguments = [model, "--images", str(source), "--name", name, *judging]
            ui_jobs.submit_hardening(run.folder, [*arguments, "--perturbations", ",".join(chosen)])
            st.rerun()
