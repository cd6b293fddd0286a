"""What a planned run will take: images, conditions, passes, disk, time and memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.processes import peak_memory
from robustness.base.progress import duration
from robustness.base.text import counted, in_bytes
from robustness.evaluation.request import Request
from robustness.runs.engines import Chunk, Workload
from robustness.runs.engines.engine import chunks
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.planning import Plan
from robustness.runs.row_files import write_part
from robustness.runs.store import listing

TRIAL_SECONDS = 30.0

BYTES_A_ROW = 220
"""As measured on runs of the offline models."""

_ENOUGH = 5
"""Images of an earlier run from which its rate is taken."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take. None means unknown.

    ``seconds`` is on this machine and ``seconds_on_workers`` on ``workers`` like it; loading the
    models takes ``startup_seconds`` before. ``memory_bytes`` is that of one process, whatever the
    number of images. ``basis`` says what the figures rest on; ``tried`` counts the images that were
    evaluated to find them.
    """

    images: int
    conditions: int
    models: int
    basis: tuple[str, ...]
    bytes_on_disk: int
    seconds: float | None = None
    workers: int | None = None
    seconds_on_workers: float | None = None
    startup_seconds: float | None = None
    memory_bytes: int | None = None
    tried: int = 0
    each: int = 1
    """Forward passes for one image under one condition: without remedies, and with each."""

    @property
    def passes(self) -> int:
        """Forward passes, without those of attacks."""
        return self.images * (1 + self.conditions) * self.models * self.each

    @property
    def rows(self) -> int:
        return self.images * self.conditions * self.models

    @property
    def size(self) -> str:
        """Such as "5 images × (10 conditions + the original) × 4 models: 220 forward passes"."""
        views = f" × {self.each} with remedies" if self.each > 1 else ""
        return (
            f"{counted(self.images, 'image')} × ({counted(self.conditions, 'condition')} + the "
            f"original) × {counted(self.models, 'model')}{views}: "
            f"{counted(self.passes, 'forward pass')}"
        )

    @property
    def disk(self) -> str:
        """Such as "about 4.2 GB on disk"."""
        return f"about {in_bytes(self.bytes_on_disk)} on disk"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "basis": list(self.basis), "passes": self.passes, "rows": self.rows}


def tried(
    plan: Plan,
    *,
    workers: int | None = None,
    seconds: float = TRIAL_SECONDS,
    note: Callable[[int], object] = lambda _images: None,
) -> Forecast:
    """A forecast from evaluating a few images of ``plan``, drawn from all over the dataset.

    The trial ends after ``seconds`` or one chunk, whichever is later; loading the models counts.
    ``note`` is told how many images are done. Raises what the local engine raises.
    """
    began = time.perf_counter()
    order = np.random.default_rng(plan.spec.seed).permutation(plan.chunk_count).tolist()
    done: list[Chunk] = []
    ends: list[float] = []
    loaded = began
    with closing(chunks(plan, order)) as work:  # type: ignore[type-var]
        for chunk in work:
            now = time.perf_counter()
            if chunk is None:
                loaded = now
                continue
            done.append(chunk)
            ends.append(now)
            note(sum(chunk.readable for chunk in done))
            if now - began >= seconds:
                break
    return _scaled(plan, workers, done, [loaded, *ends], loaded - began)


def _scaled(
    plan: Plan, workers: int | None, done: list[Chunk], ends: list[float], startup: float
) -> Forecast:
    """``ends`` are the moments at which the models were loaded and each chunk was done."""
    images = sum(chunk.readable for chunk in done)
    rows = sum(chunk.table.num_rows for chunk in done)
    failed = sum(len(chunk.images) for chunk in done) - images
    size = (len(plan.dataset), len(plan.spec.conditions), len(plan.spec.models))
    if not rows:
        nothing = f"None of the {counted(failed, 'image')} tried could be evaluated."
        return Forecast(*size, (nothing,), 0)
    counts = [len(plan.positions(chunk.number)) for chunk in done]
    first = len(done) > 1  # was prepared while the models loaded: the others say more
    a_second = sum(counts[first:]) / (ends[-1] - ends[first])
    basis = [
        f"{counted(images, 'image')} evaluated in {duration(ends[-1] - ends[0])}: "
        f"{a_second:.2f} images/s on this machine."
    ]
    if failed:
        basis.append(f"{failed} of {counted(images + failed, 'image')} could not be evaluated.")
    if workers is not None:
        basis.append(
            f"{counted(workers, 'worker')}: not measured, but scaled by images, if each is as fast "
            "as this machine."
        )
    basis.append("Disk: the size of the rows of these images. Memory: the peak of this trial.")
    return Forecast(
        *size,
        tuple(basis),
        bytes_on_disk=round(_bytes(done) / sum(counts) * size[0]),
        seconds=size[0] / a_second,
        workers=workers,
        seconds_on_workers=None if workers is None else size[0] / a_second / workers,
        startup_seconds=startup,
        memory_bytes=peak_memory(),
        tried=images,
        each=_passes_a_cell(plan.spec),
    )


def _passes_a_cell(spec: Request) -> int:
    return 1 + sum(chain.passes for chain in spec.remedies)


def _bytes(done: list[Chunk]) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        return write_part(Path(scratch), done, 0.0).path.stat().st_size


def from_earlier(plan: Workload, runs: Path) -> Forecast:
    """A forecast at the rate of the newest earlier run of the same models in ``runs``.

    Without one, or under attack, the time is unknown. Nothing is evaluated.
    """
    spec, images = plan.spec, len(plan.dataset)
    conditions, names = len(spec.conditions), len(spec.models)
    rows = images * conditions * names
    earlier = None if _attacks(spec) else next(_earlier(runs, spec), None)
    if earlier is None:
        return Forecast(
            images, conditions, names, (), rows * BYTES_A_ROW, each=_passes_a_cell(spec)
        )
    before = len(earlier.spec.conditions)
    a_row = sum(earlier.parts.values()) / (earlier.images * before * names)
    a_frame = (
        earlier.seconds
        / (earlier.images * (1 + before))
        / _passes_a_cell(earlier.spec)
        * _passes_a_cell(spec)
    )
    return Forecast(
        images,
        conditions,
        names,
        (f"at the rate of the run of {earlier.created[:10]}",),
        bytes_on_disk=round(rows * a_row),
        seconds=images * (1 + conditions) * a_frame,
        each=_passes_a_cell(spec),
    )


def _earlier(runs: Path, spec: Request) -> Iterator[Manifest]:
    """Manifests of finished runs that the models of ``spec`` did here, the newest first."""
    for entry in listing(runs):
        manifest = entry.manifest
        if (
            manifest is not None
            and not entry.imported
            and manifest.status == FINISHED
            and manifest.engine == "local"
            and manifest.images >= _ENOUGH
            and manifest.spec.side == spec.side
            and sorted(manifest.spec.model_names) == sorted(spec.model_names)
            and not _attacks(manifest.spec)
        ):
            yield manifest


def _attacks(spec: Request) -> bool:
    return any(condition.needs_model for condition in spec.conditions)
