"""Temperatures of the models of a run, fitted on half of its labelled originals.

Rows hold no more than five probabilities, so a calibration asks the model again. It is kept beside
a finished run, where pages and reports find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ImageError, ParameterError
from robustness.hardening import check_name
from robustness.images.pixels import copies, to_uint8
from robustness.measure.loop import among
from robustness.models import own
from robustness.models.classifier import MAX_BATCH
from robustness.remedies import parse
from robustness.runs import results
from robustness.runs.run import Run
from robustness.statistics.calibration import (
    condition_errors,
    fit_temperature,
    fits_temperature,
    true_class_losses,
)
from robustness.statistics.grid import UNKNOWN
from robustness.statistics.means import means

VERSION = "calibrations 2"
"""Goes up when calibrations change."""

FEWEST = 100
"""Labelled originals that a calibration needs, copies counted once."""
MOST = 4000
"""Labelled originals that are predicted again; more hardly move a single number."""
_FEWEST_IN_A_HALF = 30


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
        """The model that it made of its own, if that is there."""
        for record in models.REGISTRY:
            if record.base and (record.base.name, record.temperature) == (
                self.model,
                self.temperature,
            ):
                return record
        return None


def read_calibrations(run: Run) -> dict[str, Calibration]:
    """The saved calibrations of ``run`` by model."""
    kind = list[Calibration]
    saved = results.read(run.folder, run.manifest, results.CALIBRATIONS, kind, VERSION) or []
    return {calibration.model: calibration for calibration in saved}


def calibrate(
    run: Run, model: str, note: Callable[[int, int], object] = lambda _done, _total: None
) -> Calibration:
    """Fit the temperature of ``model`` on half of the labelled originals of ``run``; keep it.

    The digest of an image decides its half, and an image with a copy in the other half fits
    nothing. ``note`` is told how many originals are done of how many. Raises ``ParameterError`` for
    a model that is not in the run or is calibrated, with fewer than ``FEWEST`` labelled originals
    and for a table of predictions, and ``RunError`` or ``WeightsError`` where images or model
    cannot be read.
    """
    record = _record(run, model)
    cells, _ = run.rows.cells()
    labels = cells.read(record.name, "label").max(axis=1)
    axes = run.rows.axes
    labelled = np.flatnonzero(labels != UNKNOWN)
    if len(labelled) < FEWEST:
        raise ParameterError(
            f"Expected at least {FEWEST} labelled originals to calibrate on, copies counted once, "
            f"got {len(labelled)}. Evaluate more images with a true class."
        )
    chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:MOST])
    classifier = models.load(record.name, side=run.manifest.spec.framing_of(record.name).side)
    places: list[int] = []
    parts: list[NDArray[np.float32]] = []

    def originals() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(chosen), MAX_BATCH):
            batch = []
            for place in chosen[start : start + MAX_BATCH].tolist():
                try:
                    batch.append(run.picture_for(str(axes.images[place]), record.name).image)
                except ImageError:
                    continue
                places.append(place)
            if batch:
                outputs = classifier(np.stack(batch))
                classes = run.manifest.spec.classes
                parts.append((among(outputs, classes) if classes else outputs).probabilities)
                yield from to_uint8(np.stack(batch))
            note(min(start + MAX_BATCH, len(chosen)), len(chosen))

    groups = copies(originals())
    fits = np.array([fits_temperature(axes.digests[place]) for place in places], bool)
    apart = ~np.isin(groups, groups[~fits])  # has no copy in the other half
    fitting = np.flatnonzero(fits & apart)
    rest = np.flatnonzero(~fits)
    if min(len(fitting), len(rest)) < _FEWEST_IN_A_HALF:
        raise ParameterError(
            f"Expected at least {_FEWEST_IN_A_HALF} originals in each half, without copies in the "
            f"other, got {len(fitting)} and {len(rest)}. Evaluate more images of other scenes."
        )
    probabilities = np.concatenate(parts)
    truth = labels[places].astype(np.intp)
    temperature = fit_temperature(probabilities[fitting], truth[fitting])
    calibration = _judged(
        record.name,
        temperature,
        probabilities[rest],
        truth[rest],
        len(fitting),
        len(chosen) - len(fitting) - len(rest),
    )
    saved = {**read_calibrations(run), record.name: calibration}
    results.write(run.folder, run.manifest, results.CALIBRATIONS, [*saved.values()], VERSION)
    return calibration


def _record(run: Run, model: str) -> models.ModelRecord:
    if run.is_from_table:
        raise ParameterError(
            "Expected a run of models to calibrate, got one of a table of predictions, which has "
            "no model to ask again."
        )
    record = models.REGISTRY[model]
    if record.name not in run.manifest.spec.model_names:
        raise ParameterError(
            f"Expected a model of the run, got {model}. It has "
            f"{', '.join(run.manifest.spec.model_names)}."
        )
    if record.base:
        raise ParameterError(
            f"Expected a model that is not calibrated, got {model}. Calibrate {record.base.name}."
        )
    run.check_weights(record.name)
    return record


def _judged(
    model: str,
    temperature: float,
    probabilities: NDArray[np.float32],
    truth: NDArray[np.intp],
    fitted: int,
    left_out: int,
) -> Calibration:
    correct = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    tempered = parse(f"temperature={temperature}").tempered(probabilities)
    both = probabilities, tempered
    sure = [p.max(axis=1, keepdims=True).astype(np.float64) for p in both]
    errors = [condition_errors(p, correct[:, None]).by_condition for p in sure]
    losses = [true_class_losses(p, truth) for p in both]
    gain = means((losses[0] - losses[1])[:, None], -np.inf, np.inf)
    return Calibration(
        model,
        temperature,
        fitted,
        len(truth),
        left_out,
        *(estimate.interval for estimate in (*errors, gain)),
    )


def add_calibrated(calibration: Calibration, name: str) -> models.ModelRecord:
    """Add the model with its temperature as ``name``; return its record.

    It is written into the user's file or, of a model that was added from Python, lasts as long as
    this process. Raises ``ParameterError`` for a name that is taken or invalid.
    """
    check_name(name)
    base = models.REGISTRY[calibration.model]
    if base.name in own.ADDED:
        return own.add_to_process(own.calibrated(name, base, calibration.temperature))
    own.add(name, {"of": base.name, "temperature": calibration.temperature})
    return models.REGISTRY[name]


def free_name(model: str) -> str:
    """A name for the calibrated ``model`` that no model has."""
    number = 1
    while (name := f"{model}Calibrated{number if number > 1 else ''}") in models.REGISTRY:
        number += 1
    return name
