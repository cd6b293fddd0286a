"""The Models page: what there is, what is published of it, its weights, and whether it works."""

from __future__ import annotations

from robustness.ui import model_table
from robustness.ui.frame.page import page

with page(
    "Models",
    "Every classifier with what is published of it, where its weights come from, and a self-check "
    "that shows whether it answers a known image as it should.",
):
    model_table.show()
