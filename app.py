"""The page One image: an image in, and four views of how classifiers respond to its changes."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware
from streamlit.starlette import App

from robustness.base.roles import Action
from robustness.ui import server, session
from robustness.ui.frame import ROUTES as PAGE_ROUTES
from robustness.ui.frame import page
from robustness.ui.inputs import (
    is_own_image,
    picture_input,
    require_models,
    sidebar_input,
    suggest_true_class,
)
from robustness.ui.live import attack, domain, map, stack, stories, study
from robustness.ui.live import page as live_page
from robustness.ui.live.held import ROUTES
from robustness.ui.server import Guard, settle, warm_up
from robustness.ui.session import note_error, one_of, place_of_own
from robustness.ui.uploads import UploadLimit

if __name__ == "__main__":  # as the script of a page
    with page(
        "One image",
        "Choose an image, change it, and see which classifiers stay correct.",
        skips_to="controls",
    ):
        stack.begin()
        views = {
            stack.LIVE: live_page,
            stack.MAP: map,
            "attack": attack,
            "domain": domain,
            stack.STUDY: study,
        }
        titles = {
            stack.LIVE: "Live",
            stack.MAP: "Map",
            "attack": "Attack",
            "domain": "Domain",
            stack.STUDY: "Study",
        }
        with st.container(horizontal=True, horizontal_alignment="distribute", key="page-header"):
            view = one_of("View", titles, stack.VIEW, shows_label=False)
            with st.container(horizontal=True, width="content", key="page-tools"):
                stories.buttons()
        if view == "attack":
            session.require(Action.ATTACK)
        fixed_names = study.model_names() if view == stack.STUDY else ()
        names, seed = sidebar_input(fixed_names)
        # The arrow keys would lead from one's own image to that of a story.
        stories.frame(with_stories=not is_own_image())
        picture, truth = picture_input(names, camera=view == stack.LIVE)
        require_models(names)
        with place_of_own(view, views, "view-body"):  # only the chosen view computes
            views[view].show(picture, names, seed, truth)
        suggest_true_class()
else:  # as the server imports it when it starts
    settle()
    app = App(
        __file__,
        lifespan=warm_up,
        routes=[*ROUTES, *server.ROUTES, *PAGE_ROUTES],
        middleware=[Middleware(Guard), Middleware(UploadLimit)],
        on_script_error=note_error,
    )
