"""What this server counts: unexpected errors by type, and the durations of updates.

Messages of errors are left out, as they may contain a user's file names.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

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


def note_error(error: BaseException) -> None:
    """Count ``error``."""
    ERRORS.labels(type(error).__name__).inc()
