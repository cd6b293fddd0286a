"""The start of the server: settings made once, the default models, and the queued runs."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
from streamlit import config
from streamlit.starlette import App

from robustness import models
from robustness.base import memory_allocator, settings
from robustness.base.errors import RobustnessError
from robustness.base.permission_policy_and_check import Who, policy
from robustness.evaluation import similarity_and_floor
from robustness.models.graph.inspection_and_conversion import KERAS_WORKERS
from robustness.models.loaded_models import run_parallel
from robustness.runs import jobs
from robustness.ui.computation.background_work_and_cache import begin
from robustness.ui.evaluations.upload_store import tend
from robustness.ui.server import connections
from robustness.ui.server.streamlit_patches_and_internals import (
    forget_locks_of_values,
    keep_kernels,
    keep_shared_caches,
    report_ignored_values,
    send_all_of_fragments,
    stay_off_the_network,
    take_values_in_turn,
)
from robustness.ui.session import session_end
from robustness.ui.session.choice_controls_and_link import link_number, warn_of_link
from robustness.ui.session.runs_folder_and_links import runs_folder

_MEGABYTE = 2**20


def settle() -> None:
    """Lower Streamlit's limit on uploads to ours, and replace what of it does not suit us."""
    memory_allocator.share_with_arrow()
    keep_shared_caches()
    forget_locks_of_values()
    keep_kernels()
    send_all_of_fragments()
    take_values_in_turn()
    report_ignored_values(warn_of_link, link_number)
    session_end.watch()
    connections.limit()
    with suppress(RobustnessError):  # every page shows the error
        lower_upload_limit()


def note_local_role() -> None:
    """Log who users of this machine are if others use the dashboard, too.

    Raises ``ParameterError``.
    """
    if not (settings.value(settings.HOSTS) or settings.value(settings.LOGIN)):
        return
    settled = policy()
    state, advice = (
        ("on", "visitors through a forwarded port have that role, too")
        if settled.local_owner
        else ("off", "turn it on if no port is forwarded to this server")
    )
    logging.getLogger(__name__).warning(
        "Users of this machine have the role %s. The setting %r is %s: %s.",
        settled.role(Who(local=True)).name.lower(),
        settings.LOCAL_OWNER.name,
        state,
        advice,
    )


def lower_upload_limit() -> None:
    """Apply the smaller of both limits, in megabytes; raises ``ParameterError``."""
    limit = settings.value(settings.UPLOAD_LIMIT)
    if limit is not None:
        allowed = int(config.get_option("server.maxUploadSize"))
        config.set_option("server.maxUploadSize", min(allowed, max(1, limit // _MEGABYTE)))


@asynccontextmanager
async def warm_up(_app: App) -> AsyncIterator[None]:
    """Load the default models in the background and run the queue of jobs."""
    stay_off_the_network()
    with suppress(RobustnessError):  # every page shows the error
        note_local_role()
    begin("warm-up", _load_defaults)
    with suppress(RobustnessError):  # every page shows the error
        jobs.supervise(runs_folder())
    begin("uploads", tend)
    yield
    KERAS_WORKERS.stop()
    jobs.end_all()


def _load_defaults() -> None:
    # Modules stay, so garbage collection, at the end of sessions, can skip them. Networks load
    # later: those of TensorFlow's engine become garbage when released.
    gc.freeze()
    with suppress(RobustnessError):  # shown to those who request these models
        for _ in run_parallel(models.default_names(), _prepare):
            pass


def _prepare(name: str) -> None:
    """Load a model and run it once, which compiles it."""
    classifier = models.load(name, side=models.REGISTRY[name].framing.side)
    similarity_and_floor.floors(classifier)
    classifier(np.zeros((1, classifier.side, classifier.side, 3), np.float32))
