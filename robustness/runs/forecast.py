"""What a planned run will take: images, conditions, passes, disk and time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from robustness.base.progress_and_time_left import duration
from robustness.base.text import counted, in_bytes
from robustness.evaluation.request import Request
from robustness.runs.engines import Workload
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.run_folders_and_opening import listing

BYTES_A_ROW = 220
"""As measured on runs of the offline models."""

_ENOUGH = 5
"""Images of an earlier run from which its rate is taken."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take; ``seconds`` are those on this machine, None if they are unknown.

    ``basis`` says what they rest on.
    """

    images: int
    conditions: int
    models: int
    basis: tuple[str, ...]
    bytes_on_disk: int
    seconds: float | None = None
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
    def time(self) -> str:
        """Such as "about 3 min at the rate of the run of 2026-01-02"."""
        if self.seconds is None:
            return "known once it runs"
        return " ".join(["about", duration(self.seconds), *self.basis])

    @property
    def disk(self) -> str:
        """Such as "about 4.2 GB"."""
        return f"about {in_bytes(self.bytes_on_disk)}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "basis": list(self.basis), "passes": self.passes, "rows": self.rows}


def _passes_a_cell(spec: Request) -> int:
    return 1 + sum(chain.passes for chain in spec.remedies)


def from_earlier(plan: Workload, runs: Path) -> Forecast:
    """A forecast at the rate of the newest earlier run of the same models in ``runs``.

    Without one, or under attack, the time is unknown.
    """
    without = Forecast(
        images=len(plan.dataset),
        conditions=len(plan.spec.conditions),
        models=len(plan.spec.models),
        basis=(),
        bytes_on_disk=0,
        each=_passes_a_cell(plan.spec),
    )
    earlier = None if _has_attacks(plan.spec) else _earlier(runs, plan.spec)
    if earlier is None:
        return replace(without, bytes_on_disk=without.rows * BYTES_A_ROW)
    conditions = len(earlier.spec.conditions)
    rows = earlier.images * conditions * without.models
    passes = earlier.images * (1 + conditions) * without.models * _passes_a_cell(earlier.spec)
    return replace(
        without,
        basis=(f"at the rate of the run of {earlier.created[:10]}",),
        bytes_on_disk=round(without.rows * sum(earlier.parts.values()) / rows),
        seconds=without.passes * earlier.seconds / passes,
    )


def _earlier(runs: Path, spec: Request) -> Manifest | None:
    """The manifest of the newest finished run that the models of ``spec`` did here."""
    for entry in listing(runs):
        manifest = entry.manifest
        if (
            manifest is not None
            and manifest.status == FINISHED
            and manifest.engine == "local"
            and manifest.images >= _ENOUGH
            and dict(manifest.spec.framings) == dict(spec.framings)
            and not _has_attacks(manifest.spec)
        ):
            return manifest
    return None


def _has_attacks(spec: Request) -> bool:
    return any(condition.needs_model for condition in spec.conditions)
