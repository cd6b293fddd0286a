"""The results of a run over many images: its report with controls, and the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from robustness import models, report
from robustness.base.text import plain
from robustness.report import run as run_report
from robustness.report.questions import REGISTRY, RunFigures, perturbations
from robustness.report.questions.cases import CASES, LEFT_OUT
from robustness.runs import Run, jobs
from robustness.statistics import Figures
from robustness.ui.browser import components
from robustness.ui.dataset import cases, decision, embedding
from robustness.ui.dataset.saved_run import Opened
from robustness.ui.display import blocks, results
from robustness.ui.display.buttons import report_button
from robustness.ui.page import fragment

_WAITING = "Computing the figures of {:,} rows …"

_Classes = Sequence[tuple[str, str, Sequence[str]]]


@st.cache_resource(show_spinner=False, max_entries=8)
def _figures(run_id: str, written: int, classes: _Classes, _run: Run) -> Figures:
    return _run.rows.figures() if _run.manifest.race else _run.figures()


def _classes(run: Run) -> _Classes:
    """The classes of each model of ``run`` now: a file of labels may have changed."""
    groups = models.by_labels(run.manifest.spec.model_names)
    return [(known.title, known.key, names) for known, names in groups]


def show(run: Opened) -> None:
    """Draw the results of ``run``."""
    if not run.run.row_count:
        _nothing(run)
        return
    with st.spinner(_WAITING.format(run.run.row_count), show_time=True):
        found = _figures(run.id, run.written, _classes(run.run), run.run)
    of = RunFigures(run.run, found)
    hidden = {"choice"}  # the card has it
    if run.run.manifest.race is None:
        decision.show(run, of)
    elif run.run.finished or not jobs.is_queued(run.run.folder):
        _race(run, of)
    else:
        hidden.add("race")  # the box with the progress has the latest

    def opened(point: Sequence[str], chosen: Mapping[str, str]) -> None:
        if len(point) == 1 and "=" in point[0]:
            cases.selected(run.run, point[0])
            return
        level = chosen.get(perturbations.CELL_STRENGTH, perturbations.CELL_MEAN)
        entries = perturbations.at_strength(found.by_perturbation, level)
        asked = [e["condition"] for e in entries if [e["series"], e["model"]] == list(point)]
        if asked:
            quantity = chosen.get(perturbations.CELL_FIGURE, "")
            cases.cell(run.run, point[0], asked, point[1], quantity)

    for question in REGISTRY:
        if question is CASES:
            if run.run.manifest.race is None:  # else few images have a condition
                embedding.ask(run.run)
            cases.gallery(question, run.run, found)
        elif question.name not in hidden:
            fragment(blocks.question)(question, of, opened, run.id, alone=run.run.raced is not None)
    components.place("place", run.id)


def _race(run: Opened, of: RunFigures) -> None:
    """Draw the outcome of a race, and what it is based on."""
    with st.container(border=True, key="race"):
        first, *rest = [answer for _, answer in run_report.answers(of)]
        st.html(results.headline(first))
        st.caption(plain(" ".join(rest)))
        report_button(partial(report.of_run, run.run), run.id)
    for caution in run_report.cautions(of):
        st.info(plain(caution), icon=":material/info:")


def _nothing(run: Opened) -> None:
    """Why there are no results, and the images that were left out."""
    if run.run.finished:
        st.error(
            "Expected at least one image to measure, got none: this run has no results.",
            icon=":material/broken_image:",
        )
    else:
        st.info("No image is measured yet.", icon=":material/hourglass_empty:")
    blocks.question(LEFT_OUT, RunFigures(run.run), lambda *_: None, "", alone=True)
