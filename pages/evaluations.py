"""The Evaluations page: evaluate many images, compare runs, and see where models fail."""

from __future__ import annotations

from robustness.ui.evaluations import evaluations_page
from robustness.ui.page_frame import page

with page("Evaluations", evaluations_page.introduction()):
    evaluations_page.show()
