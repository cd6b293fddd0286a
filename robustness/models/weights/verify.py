"""Reads every weight file again and reports what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustness.base.disk import occupied
from robustness.base.text import in_bytes
from robustness.models.file_formats.formats import all_files, format_of
from robustness.models.model_record import ModelRecord, UserFile
from robustness.models.weights.fetch import leftovers
from robustness.models.weights.weight_files import expected_digests, fresh_digest

OK = "ok"
UNPUBLISHED = "ok, no published hash"
DAMAGED = "damaged"
MISSING = "missing"
LEFT = "left over"


@dataclass(frozen=True)
class Finding:
    """One file: ``reason`` says what is wrong with it, empty if nothing is.

    ``path`` is None where nothing says where it would lie.
    """

    state: str
    path: Path | None
    reason: str = ""


def findings(record: ModelRecord) -> Iterator[Finding]:
    """The weight files of ``record``, location by location; a missing one if there are none.

    What an earlier download left beside a place is ``left over``: it is never used.
    """
    weights = record.weights
    faulty = False
    candidates = weights.paths()
    for path in candidates:
        if os.path.exists(path):  # False where a folder may not be entered
            faulty = True
            if weights.own:
                yield _of_user(weights.own)
            else:
                for file, digest in expected_digests(weights, path).items():
                    yield _reread(file, digest, listed=file != path)
        if weights.url:
            for left in leftovers(path):
                yield Finding(LEFT, left, _left(left))
    if not faulty:
        yield Finding(MISSING, candidates[-1] if candidates else None)


def _of_user(model: UserFile) -> Finding:
    """Checks that a user's model can be read completely; loading it shows the rest."""
    path = model.path
    try:
        for file in () if path.is_dir() else all_files(path):
            fresh_digest(file, "sha256:")
        reason = "" if model.call else format_of(path).damage(path)
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or error}"
    return Finding(DAMAGED if reason else UNPUBLISHED, path, reason)


def _reread(path: Path, digest: str | None, *, listed: bool) -> Finding:
    """The file ``path`` from first to last; ``digest`` is ``listed`` beside it, or published."""
    try:
        actual = fresh_digest(path, digest or "sha256:")
    except OSError as error:
        return Finding(DAMAGED, path, f"it cannot be read: {error.strerror}")
    if digest is None:
        return Finding(UNPUBLISHED, path)
    if actual == digest:
        return Finding(OK, path)
    algorithm, _, expected = digest.partition(":")
    reason = (
        f"its {algorithm.upper()} differs from the {'listed' if listed else 'published'} one"
        if expected
        else "the list of sums next to it lacks it"
    )
    return Finding(DAMAGED, path, reason)


def _left(path: Path) -> str:
    if path.name.endswith(".damaged"):
        return "set aside as damaged, may be deleted"
    return f"unfinished download of {in_bytes(occupied(path))}, may be deleted"
