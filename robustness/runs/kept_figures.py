"""The figures of a finished run, worked out once and kept beside it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import robustness
from robustness import models
from robustness.base.disk import read_regular, write_whole
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.queries import Rows
from robustness.statistics import Figures

FILE = "figures.json.gz"

_MOST = 64 * 2**20  # bytes of the file
_MOST_TEXT = 512 * 2**20
_ABOVE = {"api", "charts", "commands", "gate", "report", "ui"}
"""Rooms that no code of a figure may import."""


@cache
def version() -> str:
    """A digest of all code that a figure can rest on: other code works it out anew."""
    root = Path(robustness.__file__).parent
    files = (
        file for file in sorted(root.rglob("*.py")) if file.relative_to(root).parts[0] not in _ABOVE
    )
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()


def of(folder: Path, manifest: Manifest, rows: Rows) -> Figures:
    """The figures of the run in ``folder``: the kept ones, else worked out and, if finished, kept.

    What cannot be written, such as on a full disk, is worked out each time.
    """
    if manifest.status != FINISHED or not manifest.images:
        return fresh(rows)
    found = _read(folder / FILE, manifest, rows)
    if found is None:
        found = fresh(rows)
        keep(folder / FILE, manifest, {"classes": found.classes, **found.as_dict()})
        found = _read(folder / FILE, manifest, rows) or found  # those that hold no rows in memory
    return found


def fresh(rows: Rows) -> Figures:
    """The figures of the rows that are there now."""
    found = Figures(rows.grids, rows.axes.copies)
    found.classes = rows.classes()
    return found


def _read(file: Path, manifest: Manifest, rows: Rows) -> Figures | None:
    document = kept(file, manifest)
    if document is None:
        return None
    try:
        classes = [(str(model), int(index)) for model, index in document.pop("classes")]
        found = Figures.from_dict(document, rows.grids)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    found.classes = classes
    return found


def keep(file: Path, manifest: Manifest, document: Mapping[str, Any], code: str = "") -> None:
    """Write ``document`` about the run of ``manifest``, if that is possible.

    ``code`` is the version of the code that made it, by default ``version``.
    """
    with contextlib.suppress(OSError, ValueError):  # a number that is none, as of odd rows
        text = json.dumps({"of": _key(manifest, code), **document}, allow_nan=False).encode()
        write_whole(file, gzip.compress(text, compresslevel=5, mtime=0))


def kept(file: Path, manifest: Manifest, code: str = "") -> dict[str, Any] | None:
    """What ``keep`` wrote about this very run; None where that is nothing, or damaged."""
    try:
        data = read_regular(file, _MOST)
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
            text = unpacked.read(_MOST_TEXT + 1)
        if len(text) > _MOST_TEXT:
            return None
        document: dict[str, Any] = json.loads(text)
        return document if document.pop("of") == _key(manifest, code) else None
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, AttributeError):
        return None


def _key(manifest: Manifest, code: str) -> str:
    """Changes with the rows, with the code, and with the classes of the models."""
    groups = models.by_labels(manifest.spec.model_names)
    classes = [
        [labels.title, labels.key, [[name, models.label(name)] for name in names]]
        for labels, names in groups
    ]
    rows = [manifest.key, manifest.content, dict(manifest.parts), manifest.images]
    return hashlib.sha256(json.dumps([rows, code or version(), classes]).encode()).hexdigest()
