"""The Models page: which models are ready, and how to add one."""

from __future__ import annotations

from robustness.ui.models import views
from robustness.ui.page import page

with page(
    "Models",
    "The image classifiers that you can evaluate here, and your own.",
):
    views.show()
