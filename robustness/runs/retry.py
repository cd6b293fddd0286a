"""Images that a model gave no answer for, which a resumed run asks about again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustness.runs.engines import UNANSWERED, Job
from robustness.runs.manifest import Manifest
from robustness.runs.parts import Part, all_parts, without_chunks


def has_unanswered(folder: Path, manifest: Manifest) -> bool:
    """Whether a model gave no answer for some image of the run in ``folder``."""
    return manifest.unreadable > 0 and bool(_unanswered(all_parts(folder, manifest)))


def _unanswered(parts: Sequence[Part]) -> set[str]:
    pairs = [pair for part in parts for pair in part.unreadable]
    return {name for name, reason in pairs if reason.startswith(UNANSWERED)}


def without_unanswered(job: Job, parts: Sequence[Part]) -> list[Part]:
    """``parts`` without the chunks of unanswered images, in new files; the old ones stay."""
    names = _unanswered(parts)
    entries = job.dataset.entries
    numbers = {place // job.batch for place, entry in enumerate(entries) if entry.name in names}
    positions = [place for number in numbers for place in job.positions(number)]
    names |= {entries[place].name for place in positions}
    rest = (
        part if numbers.isdisjoint(part.chunks) else without_chunks(part, numbers, positions, names)
        for part in parts
    )
    return [part for part in rest if part is not None]
