"""The view Scorecard: the study's ten perturbations on one or more images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from robustness import report
from robustness.base.text import plain, some, visible
from robustness.evaluation.correctness import labelled
from robustness.evaluation.loop import evaluate
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request, spec_of
from robustness.evaluation.suites import study_conditions
from robustness.pictures.picture import Picture
from robustness.ui.browser.html import html
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks, results
from robustness.ui.display.export_buttons import report_button
from robustness.ui.session.inputs import one_of, slider

STUDY, SAME = "study", "same"
_MODES = {STUDY: "Study settings", SAME: "Same strength"}


def _strength_input() -> float:
    values = {value / 20: f"{value / 20:g}" for value in range(1, 21)}
    strength = slider("Strength of all ten", values, "dial", 0.6)
    st.caption(
        "Where ImageNet-C has the perturbation, 0.2 is its severity 1 and 1 its severity 5. "
        "Flips have no strength."
    )
    return strength


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
        mode = one_of("Strength of the ten perturbations", _MODES, "mode")
        reports = st.container(width="content")
    conditions = study_conditions(strength=None if mode == STUDY else _strength_input())
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
        blocks.draw(section.blocks)
