"""Reads every weight file again, wherever it lies, and says what is wrong with it."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustness.models.digests import fresh_digest, sums
from robustness.models.download import leftovers
from robustness.models.model_record import ModelRecord, Preset, UserFile
from robustness.models.places import all_places
from robustness.models.weights import megabytes

OK = "ok"
UNPUBLISHED = "ok, no published hash"
DAMAGED = "damaged"
MISSING = "missing"
LEFT = "left over"


@dataclass(frozen=True)
class Finding:
    """One file of a model: ``reason`` says what is wrong with it, empty if nothing is.

    ``path`` is None where nothing says where it would lie.
    """

    model: str
    state: str
    path: Path | None
    reason: str = ""


def findings(record: ModelRecord) -> Iterator[Finding]:
    """What there is of the weights of ``record``, place by place; one that is missing if nothing.

    What an earlier download left beside a place is ``left over``: it is never used.
    """
    weights = record.weights
    found = False
    candidates = all_places(record)
    for path in candidates:
        if os.path.exists(path):  # "no" where a folder may not be entered
            found = True
            if isinstance(weights, Preset):
                yield from _preset(record.name, weights, path)
            elif isinstance(weights, UserFile):
                yield _own(record.name, path)
            else:
                yield _checked(record.name, path, weights.digest, "published")
        if not isinstance(weights, UserFile):
            for left in leftovers(path):
                yield Finding(record.name, LEFT, left, _left(left))
    if not found:
        yield Finding(record.name, MISSING, candidates[-1] if candidates else None)


def _preset(model: str, preset: Preset, folder: Path) -> Iterator[Finding]:
    known = sums(folder)
    for name in preset.files:
        path = folder / name
        if not os.path.isfile(path):
            yield Finding(model, DAMAGED, path, "it is not there, so the preset is not used")
        elif known is None:
            yield _checked(model, path, None, "")
        elif name not in known:
            yield Finding(model, DAMAGED, path, "the list of sums beside it has none of it")
        else:
            yield _checked(model, path, known[name], "listed")


def _own(model: str, path: Path) -> Finding:
    """A model of the user's, whose archive holds sums of its parts; loading it says the rest."""
    try:
        if os.path.isdir(path):
            whole = any(path.glob("saved_model.pb*"))
            reason = "" if whole else "it holds no saved_model.pb, so it is no SavedModel"
        else:
            with zipfile.ZipFile(path) as archive:
                part = archive.testzip()
            reason = f"its part {part} does not match its sum" if part else ""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        reason = "it is no whole archive in Keras 3's own format"
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or error}"
    return Finding(model, DAMAGED if reason else UNPUBLISHED, path, reason)


def _checked(model: str, path: Path, digest: str | None, kind: str) -> Finding:
    """The file ``path`` read from first to last; ``kind`` says whose ``digest`` is."""
    try:
        actual = fresh_digest(path, digest or "sha256:")
    except OSError as error:
        return Finding(model, DAMAGED, path, f"it cannot be read: {error.strerror}")
    if digest is None:
        return Finding(model, UNPUBLISHED, path)
    if actual != digest:
        algorithm = digest.partition(":")[0].upper()
        return Finding(model, DAMAGED, path, f"its {algorithm} differs from the {kind} one")
    return Finding(model, OK, path)


def _left(path: Path) -> str:
    if path.name.endswith(".damaged"):
        return "set aside as damaged, may be deleted"
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"unfinished download of {megabytes(size)}, continued by the next one"
