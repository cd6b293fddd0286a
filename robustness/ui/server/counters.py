"""What this server counts: unexpected errors by type, and the durations of updates.

Messages of errors are left out, as they may contain a user's file names.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

MOST = 20

_PACKAGE = Path(__file__).parents[2]

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""All figures of this server."""

ERRORS = Counter("robustness_errors", "Unexpected errors.", ["type"], registry=REGISTRY)

UPDATES = Histogram(
    "robustness_update_seconds",
    "Duration of updates of the view Live, by kind.",
    ["kind"],
    registry=REGISTRY,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Its script, and the images, predictions and camera frames requested while a slider is held."""


@dataclass(frozen=True)
class Fault:
    """One error: its time in seconds since the epoch, exception type, and line."""

    when: float
    kind: str
    place: str


FAULTS: deque[Fault] = deque(maxlen=MOST)
"""The latest errors, newest first."""


def note_error(error: BaseException) -> None:
    """Count ``error``."""
    kind = type(error).__name__
    FAULTS.appendleft(Fault(time.time(), kind, _place(error)))
    ERRORS.labels(kind).inc()


def _place(error: BaseException) -> str:
    """The innermost line of this product, or of any code, as ``file.py:12``."""
    lines = traceback.extract_tb(error.__traceback__)
    own = [line for line in lines if Path(line.filename).is_relative_to(_PACKAGE)]
    if not lines:
        return ""
    line = (own or lines)[-1]
    path = Path(line.filename)
    name = path.relative_to(_PACKAGE).as_posix() if own else path.name
    return f"{name}:{line.lineno}"
