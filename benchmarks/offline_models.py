"""The models that are ready offline, and the engine that runs them in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from robustness import models
from robustness.base import settings

NAMES = tuple(record.name for record in models.REGISTRY if record.group == models.OFFLINE)


@contextmanager
def run_by(engine: str) -> Iterator[None]:
    """Make ``models.load`` return classifiers that ``engine`` runs; it caches those of both."""
    with patch.dict(os.environ, {settings.ENGINE.variable: engine}):
        yield
