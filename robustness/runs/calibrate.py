"""Temperatures of the models of a run, fitted on half of its labelled originals.

Rows hold no more than five probabilities, so a calibration asks the model again. It is kept beside
a finished run, where pages and reports find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

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
from robustness.runs.analysis import Analysis, Calibration
from robustness.runs.run import Run
from robustness.statistics.calibration import (
    condition_errors,
    fit_temperature,
    fits_temperature,
    true_class_losses,
)
from robustness.statistics.grid import UNKNOWN
from robustness.statistics.means import means

FEWEST = 100
"""Labelled originals that a calibration needs, copies counted once."""

MOST = 4000
"""Labelled originals that are predicted again; more hardly move a single number."""

_FEWEST_IN_A_HALF = 30
"""Originals that each half needs."""


def calibrate(
    run: Run, model: str, note: Callable[[int, int], object] = lambda _done, _total: None
) -> Calibration:
    """Fits the temperature of ``model`` on half of the labelled originals of ``run``; keeps it.

    The digest of an image decides its half, and an image with a copy in the other half fits
    nothing. ``note`` is told how many originals are done of how many. Raises ``ParameterError`` for
    a model that is not in the run or is calibrated, with fewer than ``FEWEST`` labelled originals
    and for a table of predictions, and ``RunError`` or ``WeightsError`` where images or model
    cannot be read.
    """
    record = _model_to_calibrate(run, model)
    cells, _ = run.rows.cells()
    labels = cells.read(record.name, "label").max(axis=1)
    labelled = np.flatnonzero(labels != UNKNOWN)
    if len(labelled) < FEWEST:
        raise ParameterError(
            f"Expected at least {FEWEST} labelled originals to calibrate on, copies counted once, "
            f"got {len(labelled)}. Evaluate more images with a true class."
        )
    chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:MOST])
    originals = _predict_again(run, record, chosen, note)
    digests = run.rows.axes.digests
    fits = np.array([fits_temperature(digests[index]) for index in originals.indices], bool)
    has_copy_in_rest = np.isin(originals.groups, originals.groups[~fits])
    fitting = np.flatnonzero(fits & ~has_copy_in_rest)
    rest = np.flatnonzero(~fits)
    if min(len(fitting), len(rest)) < _FEWEST_IN_A_HALF:
        raise ParameterError(
            f"Expected at least {_FEWEST_IN_A_HALF} originals in each half, without copies in the "
            f"other, got {len(fitting)} and {len(rest)}. Evaluate more images of other scenes."
        )
    truth = labels[originals.indices].astype(np.intp)
    temperature = fit_temperature(originals.probabilities[fitting], truth[fitting])
    calibration = _judged(
        record.name,
        temperature,
        originals.probabilities[rest],
        truth[rest],
        fitted=len(fitting),
        left_out=len(chosen) - len(fitting) - len(rest),
    )
    Analysis(run).add_calibration(calibration)
    return calibration


class _Originals(NamedTuple):
    """Originals that a model predicted again.

    ``indices`` are their places along the axis of images, ``probabilities`` (N, classes) the
    predictions, and ``groups`` (N,) has one number for all copies of an image.
    """

    indices: list[int]
    probabilities: NDArray[np.float32]
    groups: NDArray[np.intp]


def _predict_again(
    run: Run,
    record: models.ModelRecord,
    chosen: NDArray[np.intp],
    note: Callable[[int, int], object],
) -> _Originals:
    """Predicts the originals ``chosen`` of ``run`` again; leaves out those that cannot be read."""
    spec = run.manifest.spec
    names = run.rows.axes.images
    classifier = models.load(record.name, side=spec.framing_of(record.name).side)
    indices: list[int] = []
    batches_of_probabilities: list[NDArray[np.float32]] = []

    def pixels() -> Iterator[NDArray[np.uint8]]:
        # ``copies`` takes one image at a time, so that only a batch of them is in memory.
        for start in range(0, len(chosen), MAX_BATCH):
            images = []
            for index in chosen[start : start + MAX_BATCH].tolist():
                try:
                    image = run.picture_for(str(names[index]), record.name).image
                except ImageError:
                    continue
                images.append(image)
                indices.append(index)
            if images:
                batch = np.stack(images)
                outputs = classifier(batch)
                if spec.classes:
                    outputs = among(outputs, spec.classes)
                batches_of_probabilities.append(outputs.probabilities)
                yield from to_uint8(batch)
            note(min(start + MAX_BATCH, len(chosen)), len(chosen))

    groups = copies(pixels())
    probabilities = np.empty((0, 0), np.float32)
    if batches_of_probabilities:
        probabilities = np.concatenate(batches_of_probabilities)
    return _Originals(indices, probabilities, groups)


def _model_to_calibrate(run: Run, model: str) -> models.ModelRecord:
    """The record of ``model``; raises ``ParameterError`` where ``run`` cannot calibrate it."""
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
    *,
    fitted: int,
    left_out: int,
) -> Calibration:
    """The calibration, with what ``temperature`` does to ``probabilities`` that it does not fit."""
    correct = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    tempered = parse(f"temperature={temperature}").tempered(probabilities)
    gains = true_class_losses(probabilities, truth) - true_class_losses(tempered, truth)
    return Calibration(
        model=model,
        temperature=temperature,
        fitted=fitted,
        images=len(truth),
        left_out=left_out,
        before=_calibration_error(probabilities, correct),
        after=_calibration_error(tempered, correct),
        gain=means(gains[:, None], -np.inf, np.inf).interval,
    )


def _calibration_error(
    probabilities: NDArray[np.float32], correct: NDArray[np.float64]
) -> Mapping[str, float | None]:
    """The expected calibration error of predictions that are ``correct`` (1.0) or not (0.0)."""
    confidences = probabilities.max(axis=1, keepdims=True).astype(np.float64)
    return condition_errors(confidences, correct[:, None]).by_condition.interval


def add_calibrated(calibration: Calibration, name: str) -> models.ModelRecord:
    """Adds the model with its temperature as ``name``; returns its record.

    It is written into the user's file. Of a model that was added from Python it lasts as long as
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
    name = f"{model}Calibrated"
    number = 2
    while name in models.REGISTRY:
        name = f"{model}Calibrated{number}"
        number += 1
    return name
