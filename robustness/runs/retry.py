"""Images that a model gave no answer for, which a resumed run asks about again."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from robustness.runs.engines import UNANSWERED, Workload
from robustness.runs.parts import Part, without_chunks


def unanswered(images: pa.Table) -> list[int]:
    """The positions of those of ``images`` that a model gave no answer for."""
    missing = images.filter(pc.starts_with(images["reason"], UNANSWERED))
    return list(missing["position"].to_pylist())


def without_unanswered(job: Workload, parts: Sequence[Part], images: pa.Table) -> list[Part]:
    """``parts`` without the chunks of unanswered ``images``, in new files; the old ones stay."""
    numbers = {position // job.batch for position in unanswered(images)}
    positions = [position for number in numbers for position in job.positions(number)]
    rest = (
        part if numbers.isdisjoint(part.chunks) else without_chunks(part, numbers, positions)
        for part in parts
    )
    return [part for part in rest if part is not None]
