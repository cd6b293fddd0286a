"""What a server does beside its pages, beginning with the models that will be asked for."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from streamlit.starlette import App

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.evaluation import similarity
from robustness.models.apart import APART, convert_apart
from robustness.models.loaded import LOADED
from robustness.models.together import together
from robustness.ui.dataset.uploads import tended


@asynccontextmanager
async def warm_up(_app: App) -> AsyncIterator[None]:
    """Loads the default models, and sees to the uploads, in the background of a server."""
    LOADED.before_building = convert_apart
    threading.Thread(target=_load_defaults, name="warm-up", daemon=True).start()
    with tended():
        yield
    APART.stop()


def _load_defaults() -> None:
    with suppress(RobustnessError):  # said to whoever asks for these models
        for _ in together(
            models.default_names(), lambda name: similarity.floors(models.load(name))
        ):
            pass
