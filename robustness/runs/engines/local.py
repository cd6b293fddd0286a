"""The engine of this machine: reading and perturbing run ahead of the models, in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from robustness import models
from robustness.models import Classifier
from robustness.runs.engines.engine import REGISTRY, Chunk, Engine, Workload, answered, prepared

PREPARERS = max(1, min(4, (os.cpu_count() or 1) // 4))
"""Threads that prepare: TensorFlow uses all cores, and preparing is a tenth of its work."""


def chunks(
    job: Workload, numbers: Sequence[int], *, load: Callable[..., Classifier] = models.load
) -> Iterator[Chunk | None]:
    """Yields None when the models are loaded, then the chunks ``numbers`` of ``job`` in order.

    At most ``PREPARERS + 1`` chunks are in memory at a time, whatever their number. Raises
    ``WeightsError`` when a model cannot be loaded.
    """
    with ThreadPoolExecutor(PREPARERS, thread_name_prefix="prepare") as pool:
        ahead = (pool.submit(prepared, job, number) for number in numbers)  # as they are taken
        waiting = deque(islice(ahead, PREPARERS))
        try:
            for name in job.spec.model_names:  # while the first chunk is prepared
                load(name, side=job.spec.side)
            yield None
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(islice(ahead, 1))
                yield answered(job, ready, load)
        finally:
            for future in waiting:
                future.cancel()


REGISTRY.add(Engine("local", "this machine", lambda job, numbers, _address: chunks(job, numbers)))
