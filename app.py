"""The page One image: an image in, and three views of how classifiers respond to its changes."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware
from streamlit.starlette import App

from robustness.base.permission_policy_and_check import Action
from robustness.ui.controls.model_and_seed_input import require_models, sidebar_input
from robustness.ui.controls.picture_and_framing_input import picture_input
from robustness.ui.controls.true_class import suggest_true_class
from robustness.ui.one_image import (
    attack_view,
    live_view,
    stack_state,
    stories_and_present,
    strength_map_and_sweep,
)
from robustness.ui.one_image.live_routes_and_tickets import ROUTES
from robustness.ui.page_frame import ROUTES as PAGE_ROUTES
from robustness.ui.page_frame import page
from robustness.ui.server import metrics_text_and_access
from robustness.ui.server.counters import note_error
from robustness.ui.server.request_security import Guard
from robustness.ui.server.startup_settings_and_warmup import settle, warm_up
from robustness.ui.session import access
from robustness.ui.session.choice_controls_and_link import one_of, place_of_own
from robustness.ui.session.upload_limit import UploadLimit

if __name__ == "__main__":  # as the script of a page
    with page(
        "One image",
        "Choose an image, change it, and see which classifiers stay correct.",
        skips_to="controls",
    ):
        stack_state.begin()
        views = {
            stack_state.LIVE: live_view,
            stack_state.MAP: strength_map_and_sweep,
            "attack": attack_view,
        }
        titles = {
            stack_state.LIVE: "Live",
            stack_state.MAP: "Map",
            "attack": "Attack",
        }
        with st.container(horizontal=True, horizontal_alignment="distribute", key="page-header"):
            view = one_of("View", titles, stack_state.VIEW, shows_label=False)
            with st.container(horizontal=True, width="content", key="page-tools"):
                stories_and_present.buttons()
        if view == "attack":
            access.require(Action.ATTACK)
        names, seed = sidebar_input()
        stories_and_present.frame()
        picture, truth = picture_input(names, camera=view == stack_state.LIVE)
        require_models(names)
        with place_of_own(view, views, "view-body"):  # only the chosen view computes
            views[view].show(picture, names, seed, truth)
        suggest_true_class()
else:  # as the server imports it when it starts
    settle()
    app = App(
        __file__,
        lifespan=warm_up,
        routes=[*ROUTES, *metrics_text_and_access.ROUTES, *PAGE_ROUTES],
        middleware=[Middleware(Guard), Middleware(UploadLimit)],
        on_script_error=note_error,
    )
