"""Engines: where the pictures of a dataset are evaluated, here or on a cluster."""

from __future__ import annotations

from robustness.engines.chunks import Chunk, Job, default_batch
from robustness.engines.local import chunks as _registers_itself  # noqa: F401
from robustness.engines.record import REGISTRY, Engine

__all__ = ["REGISTRY", "Chunk", "Engine", "Job", "default_batch"]
