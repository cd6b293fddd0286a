"""What a server does as it starts: its models are loaded before anybody asks for them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from streamlit.starlette import App

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.evaluation import similarity


@asynccontextmanager
async def warm_up(_app: App) -> AsyncIterator[None]:
    """Loads the default models in the background for as long as the server runs."""
    threading.Thread(target=_load_defaults, name="warm-up", daemon=True).start()
    yield


def _load_defaults() -> None:
    with suppress(RobustnessError):  # said to whoever asks for these models
        for name in models.default_names():
            similarity.floors(models.load(name))
