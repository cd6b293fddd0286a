"""Engines: where the images of a dataset are evaluated, here or on a cluster.

Importing this package registers these two.
"""

from robustness.runs.engines import ray_engine_and_workers
from robustness.runs.engines.engine_and_local_chunks import (
    REGISTRY,
    UNANSWERED,
    Chunk,
    Engine,
    Workload,
    default_batch,
    is_from_table,
)

__all__ = [
    "REGISTRY",
    "UNANSWERED",
    "Chunk",
    "Engine",
    "Workload",
    "default_batch",
    "is_from_table",
    "ray_engine_and_workers",
]
