"""The Catalogue page: every perturbation at five strengths."""

from __future__ import annotations

from robustness.ui import catalogue
from robustness.ui.kit import inputs
from robustness.ui.kit.page import frame

frame(
    "Catalogue",
    "Every perturbation at five strengths, with its physical value, its source and its ImageNet-C "
    "severity.",
)
catalogue.show(inputs.sample_input())
