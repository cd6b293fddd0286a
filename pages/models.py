"""The Models page: published figures, weights and self-check of every model."""

from __future__ import annotations

from robustness.ui import model_table
from robustness.ui.page import page

with page(
    "Models",
    "Every classifier with its published figures and the source of its weights. The self-check "
    "compares its predictions with known ones.",
):
    model_table.show()
