"""How robust each model of a run is, kept beside the run for lists of many."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from robustness.base.disk import write_whole
from robustness.base.errors import RobustnessError
from robustness.base.validation import StrictRecord, read_json
from robustness.runs.kept_figures import version
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.store import load

FILE = "headline.json"

_RATES = ("consistency", "perturbed_accuracy", "robust_accuracy")
_NAMES = (
    *("model", "label_set", "ranked_by", "n_labelled", "n_images"),
    *(f"{rate}{bound}" for rate in _RATES for bound in ("", "_low", "_high")),
)

_ROWS_SOON_READ = 1_000_000

_PAIR = ("quantity", "label_set", "better", "worse", "established")

Headline = Mapping[str, Sequence[Any]]
"""``models`` has entries of the summary, ``pairs`` those of its models, and ``choice`` the
sentences on which to choose; [] where unknown."""


class _KeptHeadline(StrictRecord):
    """The file: ``of`` is the digest of the run that its entries are of."""

    of: str
    models: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    choice: list[str]


def kept(folder: Path, manifest: Manifest) -> Headline | None:
    """What ``keep`` wrote for this very run; None where it did not yet."""
    told = read_json(_KeptHeadline, folder / FILE)
    if told is None or told.of != _digest(manifest):
        return None
    try:
        return _short(told.models, told.pairs, told.choice)
    except KeyError:
        return None


def keep(folder: Path, manifest: Manifest) -> Headline:
    """Works it out and writes it beside the run, where that can be written.

    The entries are those of ``summary`` and ``compare``, shortened. Both are empty for a run that
    is not finished or cannot be read, and for a race; opening it says why.
    """
    if manifest.status != FINISHED or not manifest.images or manifest.race is not None:
        return _short([], [], [])
    try:
        run = load(folder)
        figures = run.figures()
        run.cases.prepare()
        if run.row_count > _ROWS_SOON_READ:
            _ = run.failures  # else the first visitor waits for them
        pairs = [*figures.pairs(), *figures.pairs_under_attack]
        choice = figures.choice.sentences if figures.choice.compared else ()
        found = _short(figures.summary, pairs, choice)
        text = json.dumps({"of": _digest(manifest), **found}, allow_nan=False)
    except (RobustnessError, pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        return _short([], [], [])
    with contextlib.suppress(OSError):
        write_whole(folder / FILE, text.encode())
    return found


def _short(
    models: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], choice: Sequence[str]
) -> dict[str, list[Any]]:
    return {
        "choice": list(choice),
        "models": [{name: entry[name] for name in _NAMES} for entry in models],
        "pairs": [{name: pair[name] for name in _PAIR} for pair in pairs],
    }


def _digest(manifest: Manifest) -> str:
    """Changes with the rows, and with the code of what counts them."""
    of = (manifest.key, manifest.content, manifest.images, manifest.status, version())
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()
