"""The Runs page: saved runs, comparisons, import and export."""

from __future__ import annotations

from robustness.ui.page import page
from robustness.ui.runs import listing

with page(
    "Runs",
    "All saved runs. Tick two or more to compare them; the link includes the choice.",
):
    listing.show()
