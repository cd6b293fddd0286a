"""The results of a run in four views, of which the open one is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import streamlit as st

from robustness import models
from robustness.base.roles import Action
from robustness.base.text import counted, plain
from robustness.base.turns import duration
from robustness.measure.condition import short
from robustness.report import choice as report_choice
from robustness.report import run
from robustness.report.blocks import COMPARE, FAILURES, TWO_MODELS, VIEWS, Titled
from robustness.report.choice import CHOICE
from robustness.report.failures import CASES, LEFT_OUT, MAP
from robustness.report.fixes import FIXES
from robustness.report.harm import RUN_MAP
from robustness.report.ranking import RANKING
from robustness.report.run import REGISTRY, RunFigures
from robustness.report.threshold import THRESHOLD
from robustness.runs import Listed, Run
from robustness.runs.cases import RowSelection
from robustness.runs.embedding import IMAGES, embedding_map, read_maps
from robustness.statistics import Figures
from robustness.ui import components, draw, jobs, session
from robustness.ui.draw import SELECTIONS
from robustness.ui.evaluations import choice as evaluation_choice
from robustness.ui.evaluations import images, presentation, table, train
from robustness.ui.evaluations.images import VIEW
from robustness.ui.frame import boundary, fragment
from robustness.ui.jobs import Work
from robustness.ui.live import stories
from robustness.ui.session import listed, new_in_link, one_of, place_of_own
from robustness.ui.shared import cached


@cached(8)
def _figures(run: Run, classes: Sequence[tuple[str, str, Sequence[str]]]) -> Figures:
    """The figures of ``run`` for the ``classes`` of its models: a file of labels may change."""
    return RunFigures(run).statistics


def show(run: Run, entry: Listed) -> None:
    """Draw the answer of ``run`` and the view of its results that is open."""
    if not run.row_count:
        if run.finished:
            st.error(
                "Expected at least one image to measure, got none: this run has no results.",
                icon=":material/broken_image:",
            )
        else:
            st.info("No image is measured yet.", icon=":material/hourglass_empty:")
        draw.question(LEFT_OUT, RunFigures(run), lambda *_: None, "")
        return
    with st.spinner(f"Computing the figures of {run.row_count:,} rows …", show_time=True):
        groups = models.by_labels(run.manifest.spec.model_names)
        classes = [(labels.title, labels.key, names) for labels, names in groups]
        of = RunFigures(run, _figures(run, classes))
    if VIEW not in st.query_params and any(new_in_link(link) is not None for link in SELECTIONS):
        st.session_state.pop(VIEW, None)  # Back and Forward: the selection decides about the view
    if stories.is_presented():
        slides = presentation.run_slides(of, entry.folder.parent)
        if presentation.show(slides):
            return
    of = evaluation_choice.show(run, of, entry)
    views = _views(of)
    view = one_of("Results", views, VIEW, first=_first(views), shows_label=False)
    with place_of_own(view, VIEWS, "results"):
        fragment(_view)(view, run, of)
    components.place("place", run.id)


def _views(of: RunFigures) -> dict[str, str]:
    """The views with something to show and their titles; one model has nothing to compare."""
    there = {question.view for question in REGISTRY if question.fits(of)}
    views = {view: title for view, title in VIEWS.items() if view in there}
    if not TWO_MODELS.met(of) and views.pop(COMPARE, ""):
        views[COMPARE] = "Figures"
    return views


def _first(views: Mapping[str, str]) -> str:
    """The view that the link asks for by a selection or by the question of an evaluation."""
    query = st.query_params
    if RUN_MAP.link in query and FAILURES in views:
        return FAILURES
    for question in REGISTRY:
        if question.view in views and question.link and question.link in query:
            return question.view
    asks = query.get("question") == "weaknesses" and FAILURES in views
    return FAILURES if asks else next(iter(views))


def _view(view: str, run: Run, of: RunFigures) -> None:
    """Draw the sections of ``view``."""

    def clicked(point: Sequence[str], _: Mapping[str, str]) -> None:
        selection = images.selection_of(of, point)
        if selection is not None:
            images.preview(run, selection)
        else:
            st.caption(f"This run has no such selection: {plain(', '.join(point))}.")

    _say_answers(of, view)
    if view == FAILURES and (cell := st.query_params.get_all(RUN_MAP.link)):
        with st.container(key="cell-failures"):
            clicked(cell, {})
    if view == COMPARE:
        _draw_choice(of)
    for question in REGISTRY:
        if question.view != view or (question is RANKING and not TWO_MODELS.met(of)):
            continue
        if question is CASES:
            images.gallery(of, run.id)
            continue
        if not question.fits(of):
            continue
        drawn = draw.question(question, of, clicked, run.id)
        if question is MAP:
            if run.finished and not run.is_from_table:
                first = "Map: how far perturbed images move in the features of a model"
                with st.expander("Make another map" if read_maps(run) else first):
                    _map_form(run)
        elif question is THRESHOLD:
            table.acceptance_button(drawn)
        elif question is FIXES:
            train.show(of)


def _say_answers(of: RunFigures, view: str) -> None:
    """Write the sentences that answer the questions of ``view``."""
    sentences = [
        sentence
        for question in REGISTRY
        if question.view == view
        for _, sentence in question.answers(of.answer(question))
    ]
    if view == COMPARE:
        sentences += [
            run.basis(of.statistics, of.answer(CHOICE).chosen),
            run.note(of),
        ]
    if text := " ".join(filter(None, sentences)):
        st.markdown(plain(text))


def _draw_choice(of: RunFigures) -> None:
    """Draw the models with what they score and cost; of one model all figures at once."""
    choice = of.answer(CHOICE)
    blocks = report_choice.blocks(choice.chosen)
    if not TWO_MODELS.met(of):
        tables = [block for block in blocks if isinstance(block, Titled) and block.long]
        blocks = [replace(table, long=False) for table in tables]
    draw.draw(blocks)


def _map_form(run: Run) -> None:
    """Draw the choice of a model and a condition, and the button; make the map once asked to."""
    images = counted(min(IMAGES, run.manifest.images), "image")
    st.caption(f"Re-runs the model on up to {images}.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = {name: models.label(name) for name in run.manifest.spec.model_names}
        model = listed("Model", names, "new_map_model")
        conditions = {entry.id: short(entry.id) for entry in run.conditions}
        condition = listed("Condition", conditions, "new_map_condition")
        work = Work("map", f"{run.id} {model} {condition}")
        st.button(
            "Make a map",
            icon=":material/scatter_plot:",
            on_click=work.ask,
            **session.allowed(Action.MEASURE, key="make_map"),
        )
    if not work.requested:
        return
    with boundary():
        session.require(Action.MEASURE)
        with work.bar("Loading the model …") as show:

            def note(done: int, total: int) -> None:
                show(done / max(1, total), f"{done} of {counted(total, 'image')}")

            embedding_map(run, RowSelection(model, conditions=(condition,)), note=note)
        st.rerun()


def show_state(run: Run) -> None:
    """Draw the state of the run, above its figures."""
    if not run.finished and jobs.is_active(run.folder):
        jobs.progress(run.folder, "it continues", run.manifest.images)
    elif not run.finished:
        jobs.stopped(run.folder, "This run is not finished.")


def about(run: Run) -> None:
    """The request, and how to share the run."""
    took = f" · evaluated in {duration(run.seconds)}" if run.seconds >= 0.5 else ""
    st.container(key="run-about").caption(
        f"{plain(run.id)} · {run.manifest.how}{took}. "
        "To share it, copy the link: anyone with access to this server can open it."
    )
