"""The switch between the views of one image. Only the chosen view computes."""

from __future__ import annotations

import streamlit as st

from robustness.base.permissions import Action
from robustness.ui.controls.model_choice import require_models, sidebar_input
from robustness.ui.controls.picture_input import picture_input
from robustness.ui.one_image import attack, live, stack, stories
from robustness.ui.one_image import map as map_view
from robustness.ui.session import access
from robustness.ui.session.inputs import one_of, place_of_own

ATTACK = "attack"
VIEWS = {stack.LIVE: "Live", stack.MAP: "Map", ATTACK: "Attack"}
"""By their names in links."""


def show() -> None:
    """Draw the switch, the choice of image and models, and the chosen view."""
    stack.begin()
    with st.container(horizontal=True, horizontal_alignment="distribute", key="page-header"):
        view = one_of("View", VIEWS, stack.VIEW, shows_label=False)
        with st.container(horizontal=True, width="content", key="page-tools"):
            stories.buttons()
    if view == ATTACK:
        access.require(Action.ATTACK)
    names, seed = sidebar_input()
    stories.frame()
    picture, truth = picture_input(names, camera=view == stack.LIVE)
    require_models(names)
    with place_of_own(view, VIEWS, "view-body"):
        view_of = {stack.LIVE: live, stack.MAP: map_view, ATTACK: attack}
        view_of[view].show(picture, names, seed, truth)
