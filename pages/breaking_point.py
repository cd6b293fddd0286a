"""The Breaking-point page: where each model's prediction changes or becomes incorrect."""

from __future__ import annotations

import streamlit as st

from robustness import report
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.request import spec_of
from robustness.remedies import parse
from robustness.ui import breaking_point
from robustness.ui.controls.model_input import require_models, sidebar_input
from robustness.ui.controls.picture_input import picture_input
from robustness.ui.display.buttons import report_button
from robustness.ui.live import stories
from robustness.ui.page import page
from robustness.ui.session.inputs import perturbation_input

with page(
    "Breaking point",
    "The strength at which each model's prediction changes or becomes incorrect, from a sweep that "
    "is finer where a prediction is close to changing.",
):
    model_names, seed = sidebar_input()
    story = st.container()
    picture, truth = picture_input(model_names)
    left, right = st.columns(2, gap="medium")
    with left:
        perturbation = perturbation_input("Perturbation", "gaussian_blur", "perturbation")
    with right:
        remedy = breaking_point.remedy_input()
    with story:
        stories.show_story(picture, model_names, seed, perturbation)
    require_models(model_names)
    events = breaking_point.sweeping(picture, perturbation, model_names, seed).at_once()
    found = [labelled(event, truth) for event in events]
    behind = breaking_point.sweeping(picture, perturbation, model_names, seed, remedy)
    remedied = [labelled(event, truth) for event in (behind.at_once() if remedy else ())]
    conditions = [Condition.of({perturbation: 1.0})]
    spec = spec_of(picture, model_names, conditions, seed)
    with_remedy = {parse(remedy): remedied} if remedy else {}
    content = report.of_sweep(spec, picture, found, with_remedy)
    report_button(lambda: content, f"breaking-point-{perturbation}")
    breaking_point.show(
        *(content, picture, perturbation, model_names, seed, found, truth, (remedy, remedied))
    )
    breaking_point.show_summary(picture, model_names, seed, truth)
