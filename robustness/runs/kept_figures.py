"""The figures of a finished run, worked out once and kept beside it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import zlib
from pathlib import Path
from typing import Any

from robustness import models
from robustness.base.disk import read_regular, write_whole
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.queries import Rows
from robustness.statistics import Figures
from robustness.statistics.figures import version

FILE = "figures.json.gz"

_MOST = 64 * 2**20  # bytes of the file
_MOST_TEXT = 512 * 2**20


def of(folder: Path, manifest: Manifest, rows: Rows) -> Figures:
    """The figures of the run in ``folder``: the kept ones, else worked out and, if finished, kept.

    What cannot be written, such as on a full disk, is worked out each time.
    """
    if manifest.status != FINISHED or not manifest.images:
        return fresh(rows)
    key = _key(manifest)
    found = _read(folder / FILE, key, rows)
    if found is None:
        found = fresh(rows)
        document = {"of": key, "classes": found.classes, **found.as_dict()}
        with contextlib.suppress(OSError, ValueError):  # a number that is none, as of odd rows
            text = json.dumps(document, allow_nan=False).encode()
            write_whole(folder / FILE, gzip.compress(text, compresslevel=5, mtime=0))
    return found


def fresh(rows: Rows) -> Figures:
    """The figures of the rows that are there now."""
    found = Figures(rows.grids, rows.axes.copies)
    found.classes = rows.classes()
    return found


def _read(file: Path, key: str, rows: Rows) -> Figures | None:
    """What is kept under ``key``; None where that is nothing, or damaged."""
    try:
        data = read_regular(file, _MOST)
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
            text = unpacked.read(_MOST_TEXT + 1)
        document: dict[str, Any] = json.loads(text)
        if len(text) > _MOST_TEXT or document.pop("of") != key:
            return None
        classes = [(str(model), int(index)) for model, index in document.pop("classes")]
        found = Figures.from_dict(document, rows.grids)
        found.classes = classes
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found


def _key(manifest: Manifest) -> str:
    """Changes with the rows, with the statistics, and with the classes of the models."""
    groups = models.by_labels(manifest.spec.model_names)
    classes = [
        [labels.title, labels.key, [[name, models.label(name)] for name in names]]
        for labels, names in groups
    ]
    rows = [manifest.key, manifest.content, dict(manifest.parts), manifest.images]
    return hashlib.sha256(json.dumps([rows, version(), classes]).encode()).hexdigest()
