"""The Catalogue page: every perturbation at five strengths."""

from __future__ import annotations

from robustness.ui import catalogue, inputs
from robustness.ui.frame import frame

frame(
    "Catalogue",
    "Every perturbation at five strengths, with its physical value, its source and its ImageNet-C "
    "severity.",
)
catalogue.show(inputs.sample_input())
