"""The Catalogue page: every perturbation at five strengths."""

from __future__ import annotations

from robustness.ui import catalogue
from robustness.ui.controls.picture_input import sample_input
from robustness.ui.page import page

with page(
    "Catalogue",
    "Every perturbation at five strengths, with its physical value, its source and its ImageNet-C "
    "severity.",
):
    catalogue.show(sample_input())
