"""Start-up of the server: loads the default models and continues the queued runs."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
from streamlit.starlette import App

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.evaluation import similarity
from robustness.models.conversion_process import APART, convert_apart
from robustness.models.loaded import LOADED
from robustness.models.parallel import together
from robustness.runs import jobs
from robustness.ui.dataset.uploads import tended
from robustness.ui.server.streamlit_internals import stay_off_the_network
from robustness.ui.session.run_link import runs_folder


@asynccontextmanager
async def warm_up(_app: App) -> AsyncIterator[None]:
    """Load the default models in the background and run the queue of jobs."""
    stay_off_the_network()
    LOADED.before_building = convert_apart
    threading.Thread(target=_load_defaults, name="warm-up", daemon=True).start()
    with suppress(RobustnessError):  # every page shows the error
        jobs.keep(runs_folder())
    with tended():
        yield
    APART.stop()
    jobs.end_all()


def _load_defaults() -> None:
    # Modules stay, so garbage collection, at the end of sessions, can skip them. Networks load
    # later: those of TensorFlow's engine become garbage when released.
    gc.freeze()
    with suppress(RobustnessError):  # shown to those who request these models
        for _ in together(models.default_names(), _ready):
            pass


def _ready(name: str) -> None:
    """Load a model and run it once, which compiles it."""
    classifier = models.load(name, side=models.REGISTRY[name].framing.side)
    similarity.floors(classifier)
    classifier(np.zeros((1, classifier.side, classifier.side, 3), np.float32))
