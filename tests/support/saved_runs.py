"""Saved runs of stand-in models: made in a blink, with everything that a real run has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.support.stand_in_models import Stable
from robustness import models, runs
from robustness.images.framing import DEFAULT_FIT, Framing
from robustness.measure.condition import Condition
from robustness.measure.request import Request
from robustness.runs import engines, writer
from robustness.runs.engines import Chunk, Engine, Workload, chunks
from robustness.runs.latencies import Latencies

NAMES = ("SqueezeNet", "EfficientNetLite0")
CONDITIONS = (Condition.of({"gaussian_noise": 0.6}), Condition.of({"rotation": 0.5}))
SIDE = 64
"""Side of images for tests that only need the same rows each time."""


def spec(
    conditions: Sequence[Condition] = CONDITIONS,
    *,
    names: Sequence[str] = NAMES,
    seed: int = 5,
    fit: str = DEFAULT_FIT,
) -> Request:
    """A spec of ``names`` with the hashes of their real weights."""
    hashes = tuple((name, models.digest(models.REGISTRY[name])) for name in names)
    framings = tuple((name, Framing(fit, SIDE)) for name in names)
    return Request(hashes, tuple(conditions), framings, seed)


def use_stand_ins(patch: pytest.MonkeyPatch) -> None:
    """Make the local engine use stand-in models with invented costs."""

    def run(job: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
        return chunks(job, numbers, load=Stable().load)

    def sizes(request: Request) -> dict[str, dict[str, float]]:
        return {name: {"megabytes": 5.0} for name in request.model_names}

    def latencies(request: Request) -> tuple[Latencies, ...]:
        turns = dict.fromkeys(request.model_names, (8.0, 8.0, 8.0))
        return (Latencies("2026-01-02T03:04:05+00:00", "a processor", 2, {}, turns),)

    patch.setitem(engines.REGISTRY._records, "local", Engine("local", "stand-ins", run))
    patch.setattr(writer, "measure_sizes", sizes)
    patch.setattr(writer, "measure_latencies", latencies)


def performed(
    source: Path | str, out: Path, request: Request, *, limit: int | None = None, batch: int = 2
) -> runs.Run:
    """A finished run of ``request`` in the folder ``out``."""
    return finished(runs.plan(str(source), request, limit=limit, batch=batch), out)


def evaluate_again(run: runs.Run, out: Path) -> runs.Run:
    """A fresh run of the request of ``run`` in the folder ``out``."""
    return finished(runs.reevaluation_plan(run.manifest), out)


def finished(plan: runs.Plan, out: Path) -> runs.Run:
    """A finished run of ``plan`` in the folder ``out``."""
    with runs.start(plan, out) as writer:
        for _ in writer.perform():
            pass
    return runs.load(writer.folder)


def assert_same_rows(run: runs.Run, other: runs.Run) -> None:
    """Assert that two runs are of one request and have the same values in every row."""
    assert run.row_count == other.row_count
    assert runs.compare(run, other).rows == runs.RowComparison(run.row_count)
