"""The results of a run in four views, of which the open one is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import streamlit as st

from robustness.base.text import plain
from robustness.base.turns import duration
from robustness.report import choice as report_choice
from robustness.report import run as report_run
from robustness.report.blocks import COMPARE, FAILURES, TWO_MODELS, VIEWS, Titled
from robustness.report.choice import CHOICE
from robustness.report.failures import CASES, LEFT_OUT
from robustness.report.fixes import FIXES
from robustness.report.harm import RUN_MAP
from robustness.report.ranking import RANKING
from robustness.report.run import REGISTRY, RunFigures
from robustness.report.threshold import THRESHOLD
from robustness.runs import Analysis, Listed, Run
from robustness.ui import components, draw, jobs
from robustness.ui.draw import SELECTIONS
from robustness.ui.evaluations import choice as evaluation_choice
from robustness.ui.evaluations import images, presentation, table, train
from robustness.ui.evaluations.images import VIEW
from robustness.ui.frame import fragment
from robustness.ui.live import stories
from robustness.ui.session import new_in_link, one_of, place_of_own
from robustness.ui.shared import analysis_of


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
        draw.question(LEFT_OUT, RunFigures(Analysis(run)), _nothing_opens, "")
        return
    with st.spinner(f"Computing the figures of {run.row_count:,} rows …", show_time=True):
        figures = RunFigures(analysis_of(run))
        _ = figures.statistics  # worked out while the spinner shows
    if VIEW not in st.query_params and any(new_in_link(link) is not None for link in SELECTIONS):
        st.session_state.pop(VIEW, None)  # Back and Forward: the selection decides about the view
    if stories.is_presented():
        slides = presentation.run_slides(figures, entry.folder.parent)
        if presentation.show(slides):
            return
    figures = evaluation_choice.show(run, figures, entry)
    views = _views(figures)
    view = one_of("Results", views, VIEW, first=_first_view(views), shows_label=False)
    with place_of_own(view, VIEWS, "results"):
        fragment(_draw_view)(view, run, figures)
    components.place("place", run.id)


def _nothing_opens(_point: Sequence[str], _options: Mapping[str, str]) -> None:
    """Take the place of what a click opens, where there is no result to look at."""


def _views(figures: RunFigures) -> dict[str, str]:
    """The views with something to show and their titles; one model has nothing to compare."""
    with_questions = {question.view for question in REGISTRY if question.fits(figures)}
    views = {view: title for view, title in VIEWS.items() if view in with_questions}
    if COMPARE in views and not TWO_MODELS.met(figures):
        del views[COMPARE]
        views[COMPARE] = "Figures"  # the last one now
    return views


def _first_view(views: Mapping[str, str]) -> str:
    """The view that the link asks for by a selection or by the question of an evaluation."""
    query = st.query_params
    if FAILURES in views and RUN_MAP.link in query:
        return FAILURES
    for question in REGISTRY:
        if question.view in views and question.link and question.link in query:
            return question.view
    if FAILURES in views and query.get("question") == "weaknesses":
        return FAILURES
    return next(iter(views))


def _draw_view(view: str, run: Run, figures: RunFigures) -> None:
    """Draw the sections of ``view``."""

    def preview(point: Sequence[str], _options: Mapping[str, str]) -> None:
        selection = images.selection_of(figures, point)
        if selection is None:
            st.caption(f"This run has no such selection: {plain(', '.join(point))}.")
        else:
            images.preview(run, selection)

    _say_answers(figures, view)
    if view == FAILURES:
        cell = st.query_params.get_all(RUN_MAP.link)
        if cell:
            with st.container(key="cell-failures"):
                preview(cell, {})
    if view == COMPARE:
        _draw_choice(figures)
    for question in REGISTRY:
        if question.view != view:
            continue
        if question is RANKING and not TWO_MODELS.met(figures):
            continue
        if question is CASES:
            images.gallery(figures, run.id)
            continue
        if not question.fits(figures):
            continue
        drawn_figures = draw.question(question, figures, preview, run.id)
        if question is THRESHOLD:
            table.acceptance_button(drawn_figures)
        elif question is FIXES:
            train.show(figures)


def _say_answers(figures: RunFigures, view: str) -> None:
    """Write the sentences that answer the questions of ``view``."""
    sentences = []
    for question in REGISTRY:
        if question.view == view and question.answers is not None:
            answers = question.answers(figures.answer(question))
            sentences += [sentence for _, sentence in answers]
    if view == COMPARE:
        chosen = figures.answer(CHOICE).chosen
        sentences.append(report_run.basis(figures.statistics, chosen))
        sentences.append(report_run.note(figures))
    text = " ".join(filter(None, sentences))
    if text:
        st.markdown(plain(text))


def _draw_choice(figures: RunFigures) -> None:
    """Draw the models with what they score and cost; of one model all figures at once."""
    chosen = figures.answer(CHOICE).chosen
    said_above = evaluation_choice.cautions_above(figures.run, chosen)
    blocks = [block for block in report_choice.blocks(chosen) if block not in said_above]
    if not TWO_MODELS.met(figures):
        tables = [block for block in blocks if isinstance(block, Titled) and block.long]
        blocks = [replace(table, long=False) for table in tables]
    draw.draw(blocks)


def show_state(run: Run) -> None:
    """Draw the progress of an unfinished run, or why it stopped."""
    if run.finished:
        return
    if jobs.is_active(run.folder):
        jobs.progress(run.folder, "it continues", run.manifest.images)
    else:
        jobs.stopped(run.folder, "This run is not finished.")


def about(run: Run) -> None:
    """Draw what was asked for, how long it took, and how to share the run."""
    request = f"{plain(run.id)} · {run.manifest.how}"
    if run.seconds >= 0.5:
        request += f" · evaluated in {duration(run.seconds)}"
    st.container(key="run-about").caption(
        f"{request}. To share it, copy the link: anyone with access to this server can open it."
    )
