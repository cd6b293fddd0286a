"""The Models page: which models are ready, and how to add one."""

from __future__ import annotations

from robustness.ui import models
from robustness.ui.frame import page

with page(
    "Models",
    "The image classifiers that you can evaluate here, and your own.",
):
    models.show()
