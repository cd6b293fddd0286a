"""The Evaluations page: evaluate many images, compare runs, and see where models fail."""

from __future__ import annotations

from robustness.ui.evaluations import page as evaluation_page
from robustness.ui.frame import page

with page("Evaluations", evaluation_page.introduction()):
    evaluation_page.show()
