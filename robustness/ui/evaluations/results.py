"""The results of a run in four views, of which the open one is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from robustness import models
from robustness.report.questions import REGISTRY, RunFigures
from robustness.report.questions.cases import CASES, LEFT_OUT
from robustness.report.questions.map import MAP
from robustness.report.questions.question import COMPARE, FAILURES, TRUST, VIEWS
from robustness.report.questions.threshold import THRESHOLD
from robustness.runs import Listed, Run, jobs
from robustness.statistics import Figures
from robustness.ui.browser import components
from robustness.ui.computation.cache import KEYS
from robustness.ui.display import blocks
from robustness.ui.evaluations import answer, cases, embedding, harden, run_actions
from robustness.ui.page import fragment
from robustness.ui.session.inputs import one_of, place_of_own

VIEW = "view"
"""Parameter of the link: the open view of the results."""

_WAITING = "Computing the figures of {:,} rows …"

_Classes = Sequence[tuple[str, str, Sequence[str]]]


@st.cache_resource(show_spinner=False, max_entries=8, hash_funcs=KEYS)
def _figures(run: Run, classes: _Classes) -> Figures:
    return RunFigures(run).statistics


def _classes(run: Run) -> _Classes:
    """The classes of each model of ``run`` now: a file of labels may have changed."""
    groups = models.by_labels(run.manifest.spec.model_names)
    return [(labels.title, labels.key, names) for labels, names in groups]


def show(run: Run, entry: Listed) -> None:
    """Draw the answer of ``run`` and the view of its results that is open."""
    if not run.row_count:
        _nothing(run)
        return
    with st.spinner(_WAITING.format(run.row_count), show_time=True):
        figures = _figures(run, _classes(run))
    of = RunFigures(run, figures)
    is_race = run.manifest.race is not None
    # The box with the progress has the latest of a race.
    hides_race = is_race and not run.finished and jobs.is_queued(run.folder)
    if not hides_race:
        answer.show(run, of, entry)
    views = {view: title for view, title in VIEWS.items() if _has(of, view, hides_race)}
    view = one_of("Results", views, VIEW, first=_first(views), shows_label=False)
    with place_of_own(view, VIEWS, "results"):
        fragment(_view)(view, run, of)
    components.place("place", run.id)


def _has(of: RunFigures, view: str, hides_race: bool) -> bool:
    """Whether ``view`` has anything to say about the run."""
    if view == COMPARE and (hides_race or len(of.run.manifest.spec.models) < 2):
        return False
    return any(question.view == view and question.fits(of) for question in REGISTRY)


def _first(views: Mapping[str, str]) -> str:
    """The view that the link asks for by a selection or, of 0.13, by an open section."""
    query = st.query_params
    for question in REGISTRY:
        opened = "show_" + "_".join(question.title.lower().replace("?", "").split())
        if question.view in views and (
            (question.link and question.link in query) or query.get(opened) == "true"
        ):
            return question.view
    asks = query.get("question") == "weaknesses" and FAILURES in views
    return FAILURES if asks else next(iter(views))


def _view(view: str, run: Run, of: RunFigures) -> None:
    """Draw the sections of ``view``."""

    def clicked(point: Sequence[str], chosen: Mapping[str, str]) -> None:
        selection = cases.selection_of(of, point, chosen)
        if selection is not None:
            cases.preview(run, selection)

    for question in REGISTRY:
        if question.view != view:
            continue
        if question is CASES:
            cases.gallery(of, run.id)
        elif question is MAP and run.manifest.race is None:  # else few images have a condition
            blocks.question(question, of, clicked, run.id)
            embedding.ask(run)
        elif question is THRESHOLD and question.fits(of):
            run_actions.acceptance_button(blocks.question(question, of, clicked, run.id))
        elif question.fits(of):
            blocks.question(question, of, clicked, run.id)
    if view == TRUST:
        harden.show(of)


def _nothing(run: Run) -> None:
    """Why there are no results, and the images that were left out."""
    if run.finished:
        st.error(
            "Expected at least one image to measure, got none: this run has no results.",
            icon=":material/broken_image:",
        )
    else:
        st.info("No image is measured yet.", icon=":material/hourglass_empty:")
    blocks.question(LEFT_OUT, RunFigures(run), lambda *_: None, "")
