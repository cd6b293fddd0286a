"""The page One image: an image in, and four views of how classifiers respond to its changes."""

from __future__ import annotations

from starlette.middleware import Middleware
from streamlit.starlette import App

from robustness.ui.controls.true_class import suggest_true_class
from robustness.ui.one_image import views
from robustness.ui.one_image.slider_drag import ROUTES
from robustness.ui.page import ROUTES as PAGE_ROUTES
from robustness.ui.page import page
from robustness.ui.server import metrics
from robustness.ui.server.counters import note_error
from robustness.ui.server.request_security import Guard
from robustness.ui.server.startup import settle, warm_up
from robustness.ui.session.upload_limit import UploadLimit

if __name__ == "__main__":  # as the script of a page
    with page(
        "One image",
        "Choose an image, change it, and see which classifiers stay correct.",
        skips_to="controls",
    ):
        views.show()
        suggest_true_class()
else:  # as the server imports it when it starts
    settle()
    app = App(
        __file__,
        lifespan=warm_up,
        routes=[*ROUTES, *metrics.ROUTES, *PAGE_ROUTES],
        middleware=[Middleware(Guard), Middleware(UploadLimit)],
        on_script_error=note_error,
    )
