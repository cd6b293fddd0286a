"""The switch between the views of one image. Only the chosen view computes."""

from __future__ import annotations

import streamlit as st

from robustness.base.permissions import Action
from robustness.ui.controls.model_choice import require_models, sidebar_input
from robustness.ui.controls.picture_input import picture_input
from robustness.ui.one_image import attack, breaking_points, live, scorecard, stack, stories
from robustness.ui.session import access
from robustness.ui.session.inputs import one_of, place_of_own

LIVE, BREAKING, SCORECARD, ATTACK = "live", "breaking", "scorecard", "attack"
VIEWS = {LIVE: "Live", BREAKING: "Breaking points", SCORECARD: "Scorecard", ATTACK: "Attack"}
"""By their names in links."""


def show() -> None:
    """Draw the switch, the choice of image and models, and the chosen view."""
    stack.begin()
    tools = st.container(horizontal=True, width="content", key="page-tools")
    view = one_of("View", VIEWS, "view", shows_label=False)
    with tools:
        stories.buttons(presents=view == LIVE)
    if view == ATTACK:
        access.require(Action.ATTACK)
    names, seed = sidebar_input()
    stories.frame(presents=view == LIVE)
    pictures, true_classes = picture_input(
        names, several=view == SCORECARD, camera=view in (LIVE, BREAKING)
    )
    require_models(names)
    with place_of_own(view, VIEWS, "view-body"):
        if view == SCORECARD:
            scorecard.show(pictures, names, seed, true_classes)
            return
        (picture,) = pictures
        truth = true_classes.get(picture.digest)
        view_of = {LIVE: live, BREAKING: breaking_points, ATTACK: attack}
        view_of[view].show(picture, names, seed, truth)
