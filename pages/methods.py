"""The Methods page: measures, formulas and limits."""

from __future__ import annotations

from robustness.ui import methods
from robustness.ui.page import page

with page(
    "Methods",
    "How images are perturbed, how predictions are measured, and how to read the numbers.",
):
    methods.show()
