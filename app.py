"""The Live page: an image and sliders in; images side by side, predictions and charts out."""

from __future__ import annotations

from starlette.middleware import Middleware
from streamlit.starlette import App

from robustness.ui.controls.model_input import require_models, sidebar_input
from robustness.ui.controls.picture_input import picture_input
from robustness.ui.live import check, stories
from robustness.ui.live.drag import ROUTES
from robustness.ui.page import page
from robustness.ui.server import metrics, redirects
from robustness.ui.server.counters import FAULTS
from robustness.ui.server.guard import Guard
from robustness.ui.server.start import settle, warm_up
from robustness.ui.session.upload_limit import UploadLimit

if __name__ == "__main__":  # as the script of a page
    with page(
        "Live robustness check",
        "Choose an image, move a slider, and see how ImageNet classifiers respond.",
        skips_to="perturbations",
    ):
        model_names, seed = sidebar_input()
        stories.frame()
        picture, truth = picture_input(model_names, stories.buttons)
        require_models(model_names)
        check.show(picture, model_names, seed, truth)
        check.show_details(picture, model_names, seed, truth)
else:  # as the server imports it when it starts
    settle()
    app = App(
        __file__,
        lifespan=warm_up,
        routes=[*ROUTES, *metrics.ROUTES, *redirects.ROUTES],
        middleware=[Middleware(Guard), Middleware(UploadLimit)],
        on_script_error=FAULTS.note,
    )
