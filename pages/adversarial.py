"""The Adversarial page: how little an attacker must change an image."""

from __future__ import annotations

import streamlit as st

from robustness.base.access import Action
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.framings import version_for
from robustness.ui.adversarial import outcome, request, studies, undo
from robustness.ui.controls.model_input import require_models, sidebar_input
from robustness.ui.controls.picture_input import picture_input
from robustness.ui.live import stories
from robustness.ui.page import page
from robustness.ui.session import access

with page(
    "Adversarial",
    "Small deliberate changes that fool models.",
):
    access.require(Action.ATTACK)
    request.start_state()
    model_names, seed = sidebar_input()
    story = st.container()
    picture, truth = picture_input(model_names)
    require_models(model_names)
    answer, controls = st.columns([7, 3], gap="medium")  # on a narrow screen the answer is above
    with controls:
        attacked, spec = request.attack_input(model_names, seed)
    picture = version_for(
        picture, attacked
    )  # an attack has one framing: that of the attacked model
    with story:
        condition = AttackCondition.of_spec(spec)
        stories.show_story(picture, model_names, seed, f"{attacked} {condition.id}")
    with answer:
        found = outcome.measure(picture, attacked, spec)
        outcome.show(picture, found, truth)
    with controls:
        studies.show_report(picture, found, model_names, truth)
    outcome.show_answers(picture, found, model_names, truth)
    studies.show(picture, found, model_names, truth)
    undo.show(picture, found, model_names, truth)
