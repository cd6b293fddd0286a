"""The Operations page: how this server is doing, for its operator."""

from __future__ import annotations

from robustness.ui import operations
from robustness.ui.frame.page import page

with page(
    "Operations",
    "How this server is doing: memory, disk, updates and errors. It holds nobody's images or "
    "names, and only an owner sees it.",
):
    operations.show()
