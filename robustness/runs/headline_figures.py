"""Robustness of each model of a run, cached for lists of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from robustness.base.code_digest import code_digest
from robustness.base.errors import RobustnessError
from robustness.runs import result_cache
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.run import Run
from robustness.runs.run_folders_and_opening import load

_RATES = ("consistency", "perturbed_accuracy", "robust_accuracy")
_NAMES = (
    *("model", "label_set", "ranked_by", "n_labelled", "n_images"),
    *(f"{rate}{bound}" for rate in _RATES for bound in ("", "_low", "_high")),
)

_ROWS_SOON_READ = 1_000_000

_PAIR = ("quantity", "label_set", "better", "worse", "established")


@dataclass(frozen=True)
class Headline:
    """``models`` has entries of the summary, ``pairs`` those of its models, shortened, and
    ``choice`` the sentences on which to choose; () where unknown. ``problem`` says why that is,
    if it is no damage of the run."""

    models: Sequence[dict[str, Any]] = ()
    pairs: Sequence[dict[str, Any]] = ()
    choice: Sequence[str] = ()
    problem: str = ""


def stored(folder: Path, manifest: Manifest) -> Headline | None:
    """The figures that ``compute`` stored for this run; None before that."""
    return result_cache.read(
        folder, manifest, result_cache.HEADLINE, Headline, code_digest(__name__)
    )


def compute(folder: Path, manifest: Manifest) -> Headline:
    """Works it out and stores it, with all else that a visitor would wait for.

    All is empty for a run that is not finished or cannot be read; opening it says why.
    """
    try:
        return compute_of(folder, manifest, load)
    except (RobustnessError, pa.ArrowException, OSError):
        return Headline()


def compute_of(folder: Path, manifest: Manifest, opened: Callable[[Path], Run]) -> Headline:
    """As ``compute``, of the run as it is ``opened``; raises what its files or figures raise."""
    if manifest.status != FINISHED or not manifest.images:
        return Headline()
    run = opened(folder)
    figures = run.figures()
    if run.row_count > _ROWS_SOON_READ:
        _ = run.failures
    pairs = [*figures.pairs(), *figures.pairs_under_attack]
    choice = figures.choice.with_costs(manifest.costs)
    sentences = choice.sentences if choice.compared else ()
    headline = Headline(
        [{name: entry[name] for name in _NAMES} for entry in figures.summary],
        [{name: pair[name] for name in _PAIR} for pair in pairs],
        sentences,
    )
    result_cache.write(folder, manifest, result_cache.HEADLINE, headline, code_digest(__name__))
    return headline
