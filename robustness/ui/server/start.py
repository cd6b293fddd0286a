"""Settings that are made once, when the server starts."""

from __future__ import annotations

from contextlib import suppress

from streamlit import config

from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.ui.server.streamlit_internals import (
    forget_locks_of_values,
    keep_kernels,
    keep_shared_caches,
    send_all_of_fragments,
)

_MEGABYTE = 2**20


def settle() -> None:
    """Lower Streamlit's limit on uploads to ours, and replace what it does to shared caches, to
    their locks, to Keras and to unsent messages."""
    keep_shared_caches()
    forget_locks_of_values()
    keep_kernels()
    send_all_of_fragments()
    with suppress(RobustnessError):  # every page shows the error
        lower_upload_limit()


def lower_upload_limit() -> None:
    """Apply the smaller of both limits, in megabytes; raises ``ParameterError``."""
    wanted = settings.value(settings.UPLOAD_LIMIT)
    if wanted is not None:
        allowed = int(config.get_option("server.maxUploadSize"))
        config.set_option("server.maxUploadSize", min(allowed, max(1, wanted // _MEGABYTE)))
