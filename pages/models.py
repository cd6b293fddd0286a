"""The Models page: which models are ready, and how to add one."""

from __future__ import annotations

from robustness.ui.models import model_list_and_download
from robustness.ui.page_frame import page

with page(
    "Models",
    "The image classifiers that you can evaluate here, and your own.",
):
    model_list_and_download.show()
