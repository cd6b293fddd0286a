"""Statistics of simulated images, by processes: threads would wait for each other's interpreter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from robustness.base.workers import WorkerDiedError, Workers
from robustness.matching.simulation_process import answer
from robustness.matching.statistics import NAMES, Floats

_PROCESSES = min(os.cpu_count() or 1, 8)
"""Each takes some 150 MB."""
_WORKERS = Workers("robustness.matching.simulation_process", _PROCESSES, least=0)
_BLOCK = 32
"""Images of one question."""
_MEMORY = 2**30
_SECONDS = 600


def simulated_statistics(
    pixels: NDArray[np.uint8],
    rows: Sequence[int] | NDArray[np.integer],
    strengths: Sequence[dict[str, float]],
    digests: Sequence[str],
    seed: int,
    note: Callable[[int], object] = lambda _: None,
) -> Floats:
    """The vectors (n, statistics) of the images ``rows`` of ``pixels`` after a composition each.

    ``strengths`` and ``digests`` have one for each of ``rows``. ``note`` is called with the number
    of finished images; an exception from it ends the work.
    """
    vectors = np.empty((len(rows), len(NAMES)), np.float32)

    def fill(start: int) -> None:
        block = slice(start, start + _BLOCK)
        about = {"strengths": strengths[block], "digests": digests[block]}
        head = json.dumps({**about, "side": pixels.shape[1], "seed": seed}).encode()
        data = pixels[rows[block]].tobytes()
        try:
            reply = _WORKERS.ask(head, data, memory=_MEMORY, seconds=_SECONDS, deadline=None)
        except WorkerDiedError:  # without memory for another process
            reply = b""
        values = np.frombuffer(reply or answer(head, data), np.float32)
        vectors[block] = values.reshape(-1, len(NAMES))

    with ThreadPoolExecutor(_PROCESSES) as pool:
        step = _BLOCK * _PROCESSES
        for start in range(0, len(rows), step):
            end = min(start + step, len(rows))
            list(pool.map(fill, range(start, end, _BLOCK)))
            note(end)
    return vectors
