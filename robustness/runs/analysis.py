"""What is worked out of a saved run: figures, failures, calibrations and its headline.

``Run`` knows rows and images. An ``Analysis`` of it works out the rest, once: what takes long is
kept in memory, and beside a finished run in files of ``results``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
import pyarrow as pa

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.files import code_digest
from robustness.runs import results
from robustness.runs.cases import ONCE_FINISHED, Failures, failure_tables
from robustness.runs.folder import load
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.rows import Rows
from robustness.runs.run import Run
from robustness.statistics.grid import contradictory
from robustness.statistics.tables import Figures, FigureTables

_ROWS_SOON_READ = 1_000_000
"""Rows of which a visitor would not wait for the failures."""

_CALIBRATIONS_VERSION = "calibrations 2"
"""The number goes up when calibrations change. It is no digest of code, as of other results: a
model made them, so other statistics do not put them out of date."""


@dataclass(frozen=True)
class Calibration:
    """The ``temperature`` of a ``model``, fitted on ``fitted`` originals; JSON-ready.

    ``before`` and ``after`` are the expected calibration error of the originals without and with
    it, in [0, 1] with its interval, on the ``images`` other originals. ``gain`` is what the
    negative log-likelihood of their true classes falls by, in nats an image, which tells whether it
    helps. ``left_out`` counts originals that are copies of images in the other half or could not be
    read again.
    """

    model: str
    temperature: float
    fitted: int
    images: int
    left_out: int
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]
    gain: Mapping[str, float | None]

    @property
    def helpful(self) -> bool:
        """Whether the interval of the gain is above 0."""
        return (self.gain["low"] or 0) > 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "helpful": self.helpful}

    @property
    def added(self) -> models.ModelRecord | None:
        """The model that was added with this temperature; None if there is none."""
        for record in models.REGISTRY:
            if record.base is None or record.base.name != self.model:
                continue
            if record.temperature == self.temperature:
                return record
        return None


T = TypeVar("T")


class _Once(Generic[T]):
    """What ``compute`` returns, worked out by the first thread that asks; the others wait."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._results: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._results:
                self._results.append(self._compute())
            return self._results[0]


class Analysis:
    """The results of one ``run``, each worked out when it is first asked for.

    Threads can share it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        # Each has a lock of its own: who wants figures does not wait for failures.
        self._figures = _Once(self._read_figures)
        self._failures = _Once(self._read_failures)

    @property
    def figures(self) -> Figures:
        """The tables of its models and conditions."""
        return self._figures()

    def _read_figures(self) -> Figures:
        run = self.run
        if not (run.finished and run.manifest.images):
            return figures_of(run.rows)
        tables = self._stored(results.FIGURES, FigureTables, lambda: figures_of(run.rows).tables())
        return Figures.of_tables(tables, run.rows.grids)  # which holds no rows in memory

    @property
    def failures(self) -> Failures:
        """Where and why its models fail; empty until it is finished."""
        return self._failures()

    def _read_failures(self) -> Failures:
        run = self.run
        if not run.finished:
            # They take long, and each write would put them out of date.
            return Failures(
                quantity="consistency",
                slices=(),
                changes=(),
                pairs=(),
                majority=(),
                thresholds=(),
                risk_coverage=(),
                unknown=(ONCE_FINISHED,),
            )
        return self._stored(
            results.FAILURES, Failures, lambda: failure_tables(run.rows, run.properties)
        )

    def _stored(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        run = self.run
        version = code_digest()
        return results.stored(run.folder, run.manifest, name, kind, version, compute)

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """The stored calibrations by model."""
        calibrations = self._read(results.CALIBRATIONS, list[Calibration], _CALIBRATIONS_VERSION)
        return {calibration.model: calibration for calibration in calibrations or []}

    def add_calibration(self, calibration: Calibration) -> None:
        """Store a calibration in place of that of its model, if the run is finished."""
        by_model = self.calibrations
        by_model[calibration.model] = calibration
        self._write(results.CALIBRATIONS, list(by_model.values()), _CALIBRATIONS_VERSION)

    def _read(self, name: str, kind: type[T], version: str) -> T | None:
        return results.read(self.run.folder, self.run.manifest, name, kind, version)

    def _write(self, name: str, result: object, version: str) -> None:
        results.write(self.run.folder, self.run.manifest, name, result, version)


def figures_of(rows: Rows) -> Figures:
    """The figures of ``rows``, computed from the files as they are now."""
    contradiction_count = 0  # images of which a copy has another label
    if rows.axes.copies:
        found = rows.ask("SELECT DISTINCT model, position, label FROM rows")
        labels = pd.DataFrame(found, columns=["model", "position", "label"])
        labels["image_digest"] = labels["position"].map(rows.digests)
        contradiction_count = contradictory(labels)
    figures = Figures(rows.grids, rows.axes.copies, contradiction_count, score=rows.score)
    figures.classes = rows.classes()
    return figures


_SUMMARY_KEYS = (
    "model",
    "label_set",
    "ranked_by",
    "n_labelled",
    "n_images",
    "consistency",
    "consistency_low",
    "consistency_high",
    "perturbed_accuracy",
    "perturbed_accuracy_low",
    "perturbed_accuracy_high",
    "robust_accuracy",
    "robust_accuracy_low",
    "robust_accuracy_high",
)
_PAIR_KEYS = ("quantity", "label_set", "better", "worse", "established")


@dataclass(frozen=True)
class Headline:
    """The figures of a run that a list of runs shows.

    ``models`` are the entries of its summary and ``pairs`` those of its pairs of models, with some
    of their keys; ``choice`` has the sentences on which model to choose. They are empty where they
    are unknown. ``problem`` says why that is, unless the run is damaged.
    """

    models: Sequence[dict[str, Any]] = ()
    pairs: Sequence[dict[str, Any]] = ()
    choice: Sequence[str] = ()
    problem: str = ""


def read_headline(folder: Path, manifest: Manifest) -> Headline | None:
    """The headline that ``compute_headline`` stored for this run; None before that."""
    return results.read(folder, manifest, results.HEADLINE, Headline, code_digest())


def compute_headline(folder: Path, manifest: Manifest) -> Headline:
    """Compute the headline of the run in ``folder`` and store it.

    Whatever else a visitor would wait for is computed and stored as well. The headline of a run
    that is not finished, or cannot be read, is empty: opening it says why.
    """
    if manifest.status != FINISHED or not manifest.images:
        return Headline()
    try:
        headline = _headline(Analysis(load(folder)))
        results.write(folder, manifest, results.HEADLINE, headline, code_digest())
    except (RobustnessError, pa.ArrowException, OSError):
        return Headline()
    return headline


def _headline(analysis: Analysis) -> Headline:
    figures = analysis.figures
    if analysis.run.row_count > _ROWS_SOON_READ:
        _ = analysis.failures  # stored with the run as they are worked out
    choice = figures.choice.with_costs(analysis.run.manifest.costs)
    sentences = choice.sentences if choice.compared else ()
    pairs = [*figures.pairs(), *figures.pairs_under_attack]
    return Headline(
        models=[{key: entry[key] for key in _SUMMARY_KEYS} for entry in figures.summary],
        pairs=[{key: pair[key] for key in _PAIR_KEYS} for pair in pairs],
        choice=sentences,
    )
