"""Statistics of simulated images, by processes: threads would wait for each other's interpreter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.workers import WorkerDiedError, Workers
from robustness.matching.saving import FileScale
from robustness.matching.simulation_process import answer
from robustness.matching.statistics import NAMES, Floats

_PROCESSES = min(os.cpu_count() or 1, 8)
"""Each takes some 150 MB."""
_WORKERS = Workers("robustness.matching.simulation_process", _PROCESSES, least=0)
_BLOCK = 32
"""Images of one request to a process."""
_MEMORY = 2**30
_SECONDS = 600


def simulated_statistics(
    images: NDArray[np.uint8] | FileScale,
    rows: Sequence[int] | NDArray[np.integer],
    strengths: Sequence[dict[str, float]],
    digests: Sequence[str],
    seed: int,
    note: Callable[[int], object] = lambda _: None,
) -> Floats:
    """Return the statistics (n, D) of ``rows`` of ``images``, each perturbed, then saved if so.

    ``strengths`` has a composition and ``digests`` the digest of the random streams of each of
    ``rows``. ``note`` is called with the number of finished images; an exception from it ends the
    work.
    """
    vectors = np.empty((len(rows), len(NAMES)), np.float32)
    saved = images if isinstance(images, FileScale) else None
    pixels = images.pixels if isinstance(images, FileScale) else images

    def fill(start: int) -> None:
        block = slice(start, start + _BLOCK)
        request: dict[str, Any] = {
            "strengths": strengths[block],
            "digests": digests[block],
            "side": pixels.shape[1],
            "seed": seed,
        }
        if saved:
            request["framing"] = saved.framing.as_dict()
            request["steps"] = [saved.steps[row] for row in rows[block]]
        head = json.dumps(request).encode()
        data = pixels[rows[block]].tobytes()
        try:
            reply = _WORKERS.ask(head, data, memory=_MEMORY, seconds=_SECONDS, deadline=None)
        except WorkerDiedError:
            # Without memory for another process, this one does the work.
            reply = b""
        if not reply:
            reply = answer(head, data)
        vectors[block] = np.frombuffer(reply, np.float32).reshape(-1, len(NAMES))

    with ThreadPoolExecutor(_PROCESSES) as pool:
        batch_size = _BLOCK * _PROCESSES
        for start in range(0, len(rows), batch_size):
            end = min(start + batch_size, len(rows))
            list(pool.map(fill, range(start, end, _BLOCK)))  # as a list, which raises their errors
            note(end)
    return vectors
