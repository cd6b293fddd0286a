"""The Methods page: what is measured, with which formulas, and what the numbers cannot say."""

from __future__ import annotations

from robustness.ui import methods
from robustness.ui.frame.page import page

with page(
    "Methods",
    "What is done to the image, what is asked of the models, and how to read the numbers.",
):
    methods.show()
