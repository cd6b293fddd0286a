"""The Operations page: the state of the server, for its operator."""

from __future__ import annotations

from robustness.ui import operations
from robustness.ui.page import page

with page(
    "Operations",
    "The state of this server: memory, disk, updates and errors. It shows no images or names of "
    "users, and only owners see it.",
):
    operations.show()
