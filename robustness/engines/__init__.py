"""Engines: where the pictures of a dataset are evaluated, here or on a cluster.

Importing this package registers them all.
"""

from robustness.engines import local, ray_cluster
from robustness.engines.chunks import Chunk, Job, default_batch
from robustness.engines.record import REGISTRY, Engine

__all__ = ["REGISTRY", "Chunk", "Engine", "Job", "default_batch", "local", "ray_cluster"]
