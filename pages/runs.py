"""The Runs page: what is kept, what changed between runs, and their way to another machine."""

from __future__ import annotations

from robustness.ui import runs
from robustness.ui.frame import frame

frame(
    "Runs",
    "Every evaluation of a dataset is kept. Tick two or more to see what got better or worse; the "
    "link holds the choice.",
)
runs.show()
