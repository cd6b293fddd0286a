"""The Reference page: every perturbation at five strengths, and the methods."""

from __future__ import annotations

from robustness.ui import reference
from robustness.ui.frame import page

with page(
    "Reference",
    "Look up what a perturbation looks like, what a term means, or how a figure is computed.",
):
    reference.show()
