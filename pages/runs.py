"""The Runs page: what is kept, what changed between runs, and their way to another machine."""

from __future__ import annotations

from robustness.ui.frame.page import page
from robustness.ui.runs import listing

with page(
    "Runs",
    "Every evaluation of a dataset is kept. Tick two or more to see what got better or worse; the "
    "link holds the choice.",
):
    listing.show()
