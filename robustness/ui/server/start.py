"""What is settled once, as the server starts."""

from __future__ import annotations

from contextlib import suppress

from streamlit import config
from streamlit.runtime.app_session import AppSession

from robustness.base import settings
from robustness.base.errors import RobustnessError

_MEGABYTE = 2**20


def settle() -> None:
    """Lowers Streamlit's limit of uploads to ours, and keeps everybody's caches from anybody."""
    AppSession._handle_clear_cache_request = clear_own  # type: ignore[method-assign, assignment]
    with suppress(RobustnessError):  # every page says it
        lower_upload_limit()


def lower_upload_limit() -> None:
    """The smaller of both limits, in whole megabytes, holds; raises ``ParameterError``."""
    wanted = settings.value(settings.UPLOAD_LIMIT)
    if wanted is not None:
        allowed = int(config.get_option("server.maxUploadSize"))
        config.set_option("server.maxUploadSize", min(allowed, max(1, wanted // _MEGABYTE)))


def clear_own(session: AppSession) -> None:
    """In place of what Streamlit does when a browser asks for it: clear what all sessions share."""
    session._session_state.clear()
