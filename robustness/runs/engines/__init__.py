"""Engines: where the images of a dataset are evaluated, here or on a cluster.

Importing this package registers them all.
"""

from robustness.runs.engines import local, predictions_table, ray_cluster
from robustness.runs.engines.engine import (
    REGISTRY,
    UNANSWERED,
    Chunk,
    Engine,
    Workload,
    default_batch,
)

__all__ = [
    "REGISTRY",
    "UNANSWERED",
    "Chunk",
    "Engine",
    "Workload",
    "default_batch",
    "local",
    "predictions_table",
    "ray_cluster",
]
