"""How robust each model of a run is, kept beside the run for lists of many."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import robustness
from robustness.base.disk import write_whole
from robustness.base.errors import RobustnessError
from robustness.runs.manifest import AMISS, FINISHED, Manifest
from robustness.runs.store import load
from robustness.statistics import Figures

FILE = "headline.json"

_RATES = ("consistency", "robust_accuracy")
_NAMES = (
    *("model", "label_set", "ranked_by"),
    *(f"{rate}{bound}" for rate in _RATES for bound in ("", "_low", "_high")),
)

Entries = Sequence[Mapping[str, Any]]


def kept(folder: Path, manifest: Manifest) -> Entries | None:
    """What ``keep`` wrote for this very run; None where it did not yet."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if told["of"] != _digest(manifest):
            return None
        return [{name: entry[name] for name in _NAMES} for entry in told["models"]]
    except (OSError, *AMISS):
        return None


def keep(folder: Path, manifest: Manifest) -> Entries:
    """Works it out and writes it beside the run, where that can be written.

    One entry a model, best first within each ``label_set``: ``model``, ``ranked_by``, and
    ``consistency`` and ``robust_accuracy`` with their bounds as ``summary`` has them. [] for a run
    that is not finished or cannot be read: whoever opens it is told why.
    """
    if manifest.status != FINISHED or not manifest.images:
        return []
    try:
        summary = Figures(load(folder).frame()).summary
        found = [{name: entry[name] for name in _NAMES} for entry in summary]
        text = json.dumps({"of": _digest(manifest), "models": found}, allow_nan=False)
    except (RobustnessError, pa.ArrowException, OSError, *AMISS):
        return []
    with contextlib.suppress(OSError):
        write_whole(folder / FILE, text.encode())
    return found


def _digest(manifest: Manifest) -> str:
    """Changes with the rows, and with the version of what counts them."""
    of = (manifest.key, manifest.content, manifest.images, manifest.status, robustness.__version__)
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()
