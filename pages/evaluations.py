"""The Evaluations page: evaluate many images, compare runs, and see where models fail."""

from __future__ import annotations

from robustness.ui.evaluations import overview
from robustness.ui.page_frame import page

with page("Evaluations", overview.introduction()):
    overview.show()
