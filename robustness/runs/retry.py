"""Images that a model gave no answer for, which a resumed run asks about again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow.compute as pc

from robustness.runs.engines import UNANSWERED, Chunk, Job
from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest
from robustness.runs.parts import (
    Part,
    all_parts,
    read_rows,
    remove_superseded,
    write_part,
)


def has_unanswered(folder: Path, manifest: Manifest) -> bool:
    """Whether a model gave no answer for some image of the run in ``folder``."""
    return manifest.unreadable > 0 and bool(_unanswered(all_parts(folder, manifest)))


def _unanswered(parts: Sequence[Part]) -> set[str]:
    pairs = [pair for part in parts for pair in part.unreadable]
    return {name for name, reason in pairs if reason.startswith(UNANSWERED)}


def unfinished_again(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest of the finished run, unfinished again if a model left images unanswered."""
    if manifest.status != FINISHED or not has_unanswered(folder, manifest):
        return manifest
    remove_superseded(folder, manifest)  # before a chunk leaves the file that supersedes them
    manifest = manifest.updated(status=UNFINISHED, content=None)
    manifest.write(folder)
    return manifest


def without_unanswered(job: Job, parts: Sequence[Part]) -> list[Part]:
    """``parts`` of an unfinished run without the chunks of unanswered images; rewrites files."""
    names = _unanswered(parts)
    if not names:
        return list(parts)
    entries = enumerate(job.dataset.entries)
    lacking = {place // job.batch for place, entry in entries if entry.name in names}
    kept = []
    for part in parts:
        if lacking.isdisjoint(part.chunks):
            kept.append(part)
        elif numbers := [number for number in part.chunks if number not in lacking]:
            chunks = _chunks(job, part, numbers)
            kept.append(write_part(part.path.parent, chunks, part.seconds, part.path))
        else:
            part.path.unlink()
    return kept


def _chunks(job: Job, part: Part, numbers: Collection[int]) -> list[Chunk]:
    """The chunks ``numbers`` of ``part``."""
    table = read_rows(part, remedied=True)
    found = []
    for number in numbers:
        places = job.positions(number)
        names = {job.dataset.entries[place].name for place in places}
        unreadable = tuple(pair for pair in part.unreadable if pair[0] in names)
        rows = table.filter(
            pc.and_(
                pc.greater_equal(table["position"], places.start),
                pc.less(table["position"], places.stop),
            )
        )
        found.append(Chunk(number, rows, len(pc.unique(rows["position"])), unreadable))
    return found
