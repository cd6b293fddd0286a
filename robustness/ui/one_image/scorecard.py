"""The view Scorecard: the study's ten perturbations on one or more images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import streamlit as st

from robustness import report
from robustness.base.text import plain, some, visible
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.loop import evaluate, stages_by_place
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request, spec_of
from robustness.evaluation.suites import study_conditions
from robustness.perturbations import REGISTRY, Perturbation
from robustness.pictures.picture import Picture
from robustness.report.scorecard import FEATURES, features
from robustness.ui.browser.components import first_strength
from robustness.ui.browser.html import html
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks, explanations, results
from robustness.ui.display.export_buttons import report_button
from robustness.ui.session.inputs import one_of, slider, strengths

STUDY, SAME, INDIVIDUAL = "study", "same", "individual"
_MODES = {STUDY: "Study settings", SAME: "Same strength", INDIVIDUAL: "Individual strengths"}
_RENAMED = {"one dial": SAME, "each its own": INDIVIDUAL}
"""Modes in links of earlier versions."""


def _mode_input() -> str:
    if (said := st.query_params.get("mode")) in _RENAMED:
        st.session_state["mode"] = st.query_params["mode"] = _RENAMED[said]
    return one_of("Strength of the ten perturbations", _MODES, "mode")


def _conditions(mode: str) -> tuple[Condition, ...]:
    """The study's ten conditions: at its settings, at one strength, or at individual strengths."""
    if mode == STUDY:
        return study_conditions()
    if mode == SAME:
        values = [round(0.05 * step, 2) for step in range(1, 21)]
        dial = slider("Strength of all ten", {value: f"{value:g}" for value in values}, "dial", 0.6)
        conditions = study_conditions(strength=dial)
    else:
        records = [record for record in REGISTRY if record.in_study]
        own = []
        for record, column in zip(records, results.cells(5, gap="medium"), strict=False):
            with column:
                own.append(Condition.of({record.name: _own_strength(record)}))
        conditions = tuple(own)
    st.caption(
        "Where ImageNet-C has the perturbation, 0.2 is its severity 1 and 1 its severity 5. "
        "Flips have no strength."
    )
    return conditions


def _own_strength(record: Perturbation) -> float:
    key = f"own_{record.name}"
    if record.graded:
        first = first_strength(record)
        return slider(record.label, strengths(record, first), key, first)
    return float(st.toggle(record.label, value=True, key=key, bind="query-params"))


def _measure(pictures: Sequence[Picture], spec: Request) -> list[Measurement]:
    """The rows of the scorecard, cached or computed with progress; stops the page if cancelled."""
    names, conditions = spec.model_names, spec.conditions
    return Measuring(
        "Scoring",
        work_key("score", pictures, names, conditions, spec.seed),
        pictures,
        lambda nameless: evaluate(spec, nameless),
        len(pictures) * len(names) * len(conditions),
    ).at_once()


def show(
    pictures: Sequence[Picture], names: Sequence[str], seed: int, true_classes: Mapping[str, str]
) -> None:
    """Draw the view: the sections of the report of ``pictures``."""
    st.html(html("target", name="controls"))
    with st.container(horizontal=True, vertical_alignment="bottom", key="conditions"):
        mode = _mode_input()
        reports = st.container(width="content")
    conditions = _conditions(mode)
    spec = spec_of(pictures[0], names, conditions, seed)
    measured = _measure(pictures, spec)
    rows = [labelled(row, true_classes.get(row.image_digest)) for row in measured]
    content = report.of_scorecard(spec, pictures, rows)
    with reports:
        report_button(lambda: content, "scorecard")
    scored = some([visible(picture.name) for picture in pictures], 3)
    st.html(results.headline(f"{scored}: {content.answer[0]}"))
    for caution in content.cautions:
        st.warning(plain(caution), icon=":material/help:")
    st.caption(plain(content.note))
    for section in content.sections:
        st.header(section.title, anchor=False)
        if section.title == FEATURES and (by_place := explanations.by_place_input()):
            section = features(_by_place(rows, pictures, spec), by_place=by_place)
        blocks.draw(section.blocks)


def _by_place(
    rows: Sequence[Measurement], pictures: Sequence[Picture], spec: Request
) -> list[Measurement]:
    """``rows`` with their stages compared place by place, cached or computed with progress."""
    what = "Comparing place by place"
    found = Measuring(
        what,
        work_key(what, pictures, spec.model_names, spec.conditions, spec.seed),
        pictures,
        lambda nameless: stages_by_place(spec, nameless),
        len(rows),
    ).at_once()
    of = dict(found)
    return [replace(r, stages=of[r.image_digest, r.model, r.condition]) for r in rows]
