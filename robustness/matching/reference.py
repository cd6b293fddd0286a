"""The reference images of a match: their emulator, simulations, predictions and accuracies."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base import settings
from robustness.base.files import code_digest, put_whole, read_regular
from robustness.base.turns import Note
from robustness.images.framing import Framing
from robustness.images.pixels import from_uint8, to_uint8
from robustness.matching.accuracy import (
    SIMULATED,
    AccuracyEstimate,
    ConfidenceEstimator,
    TopPredictions,
    compositions,
    simulated_estimate,
    top_predictions,
    with_agreement,
)
from robustness.matching.emulator import Emulator, train, version
from robustness.matching.fit import Estimate
from robustness.matching.saving import FileScale, SavedFile
from robustness.matching.simulation import simulated_statistics
from robustness.matching.statistics import NAMES, Floats, Values
from robustness.measure.condition import Condition
from robustness.perturbations import REGISTRY, compose

_TRIED = 6
"""Compositions of the profile that are tried."""
_IMAGES_OF_TRIED = 20
"""Images on which each of them is tried."""
_BATCH = 32
_LARGEST_CACHE = 2**28
"""Bytes of a file of the cache that is read."""
_COMPARED = 80
"""Images on which strengths of compression are compared, about."""
_HALVINGS = 10


class ReferenceImages:
    """The reference images with their emulator, simulations and accuracies."""

    emulator: Emulator
    """There once it has learnt."""
    by_chance: dict[str, Values]
    """Accuracies of each model under random compositions, there with ``confidences``."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        seed: int,
        views: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> None:
        """``views`` are the images as the models of these names see them, if not as ``pixels``."""
        self.pixels = pixels
        self.seed = seed
        self.views = views or {}
        self.saved: FileScale | None = None
        self.saved_views: dict[str, FileScale] = {}
        self.digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
        self._originals: dict[str, TopPredictions] = {}
        self._simulated: dict[bytes, Floats] = {}

    def save_like(
        self,
        files: Sequence[SavedFile | None],
        framing: Framing,
        pixels: NDArray[np.uint8],
        views: Mapping[str, tuple[Framing, NDArray[np.uint8]]],
    ) -> None:
        """Have every image saved like one of ``files`` from now on, after its perturbation.

        ``pixels`` are the images in the ``framing`` at the scale of the files, as ``file_framing``
        gives it, and ``views`` those of the models that see others, with their framings.
        """
        self.unsaved = self.pixels
        self.saved = FileScale.of(pixels, self.pixels, files, framing, self.digests, self.seed)
        self.pixels = self.saved.originals
        by_framing: dict[Framing, FileScale] = {}
        for name, (view_framing, view) in views.items():
            if view_framing not in by_framing:
                by_framing[view_framing] = FileScale.of(
                    view, self.views[name], files, view_framing, self.digests, self.seed
                )
            self.saved_views[name] = by_framing[view_framing]
        self.views = {name: scale.originals for name, scale in self.saved_views.items()}

    def learn(self, note: Note) -> None:
        """Load the emulator from the cache, or train and store it; needed before a simulation."""
        saved_texts = self.saved.key if self.saved else ()
        path = _cache_file(version(), str(self.seed), *self.digests, *saved_texts)
        stored = _read_cache(path)
        if stored:
            self.emulator = Emulator.from_arrays(stored)
        else:
            self.emulator = train(self.pixels, self.seed, note, self.saved)
            _write_cache(path, self.emulator.arrays())

    def originals(self, name: str) -> TopPredictions:
        """Return the predictions of the model ``name`` for the reference."""
        if name not in self._originals:
            self._originals[name] = top_predictions(name, self.views.get(name, self.pixels))
        return self._originals[name]

    def confidences(
        self, labels: Mapping[str, NDArray[np.int64]], note: Note
    ) -> dict[str, ConfidenceEstimator]:
        """Return how the confidence of each model in ``labels`` tells its accuracy.

        ``labels`` has the classes (N,) of the reference by model, -1 without one.
        """
        drawn = compositions(self.seed)
        rng = np.random.default_rng(self.seed)
        labelled_rows = np.flatnonzero(np.any([column >= 0 for column in labels.values()], 0))
        rows_by_composition = []
        for _ in drawn:
            rows_by_composition.append(np.sort(rng.permutation(labelled_rows)[:SIMULATED]))
        outputs = self._all_predictions(list(labels), drawn, rows_by_composition, note)

        # The predictions are those for the reference, then those under each composition.
        reference_rows = np.arange(len(self.pixels))
        ends = np.cumsum([len(self.pixels), *(len(rows) for rows in rows_by_composition)])
        estimators = {}
        for name, output in with_agreement(outputs, labels).items():
            self._originals[name] = outputs[name].rows(reference_rows)
            column = labels[name]
            simulated = []
            for rows, start in zip(rows_by_composition, ends[:-1], strict=True):
                with_label = np.flatnonzero(column[rows] >= 0)
                simulated.append((output.rows(start + with_label), rows[with_label]))
            originals = output.rows(reference_rows)
            estimators[name] = ConfidenceEstimator(originals, column, simulated)
        self.by_chance = {name: each.by_chance for name, each in estimators.items()}
        return estimators

    def _all_predictions(
        self,
        names: Sequence[str],
        drawn: Sequence[dict[str, float]],
        rows_by_composition: Sequence[NDArray[np.int64]],
        note: Note,
    ) -> dict[str, TopPredictions]:
        """The predictions of each model for the reference, then for its rows under compositions.

        They are in the cache, or made and put there.
        """
        paths = self._prediction_files(names, drawn, rows_by_composition)
        stored = {}
        for name, path in paths.items():
            arrays = _read_cache(path)
            if arrays:
                stored[name] = TopPredictions(**arrays)
        missing = [name for name in names if name not in stored]
        parts: dict[str, list[TopPredictions]] = {name: [] for name in missing}
        for done, strengths in enumerate(drawn, 1):
            predicted = self.predictions(missing, strengths, rows_by_composition[done - 1])
            for name, part in predicted.items():
                parts[name].append(part)
            note("Estimating", done, len(drawn))
        outputs = {}
        for name in names:
            if name in stored:
                outputs[name] = stored[name]
                continue
            outputs[name] = TopPredictions.join([self.originals(name), *parts[name]])
            if name in paths:
                _write_cache(paths[name], outputs[name]._asdict())
        return outputs

    def _prediction_files(
        self,
        names: Sequence[str],
        drawn: Sequence[dict[str, float]],
        rows_by_composition: Sequence[NDArray[np.int64]],
    ) -> dict[str, Path]:
        """The cache's file for the predictions of each model that has a key.

        Without a key nobody can tell when a model's predictions change.
        """
        drawn_text = repr(drawn)
        rows_text = repr([rows.tolist() for rows in rows_by_composition])
        paths = {}
        for name in names:
            pixels = self.views.get(name, self.pixels)
            key = models.load(name, side=pixels.shape[1]).key
            if not key:
                continue
            texts = [key, str(self.seed), drawn_text, rows_text, *self.digests]
            if name in self.views:
                texts.append(hashlib.sha256(pixels.tobytes()).hexdigest())
            saved = self.saved_views.get(name, self.saved)
            if saved:
                texts.extend(saved.key)
            paths[name] = _cache_file(*texts)
        return paths

    def images(
        self, strengths: dict[str, float], rows: Sequence[int], name: str | None = None
    ) -> Floats:
        """Return the reference's images ``rows`` (n, S, S, 3) after a composition.

        They are as the model ``name`` sees them, by default in the framing of all.
        """
        pixels = self.pixels
        if name is not None:
            pixels = self.views.get(name, self.pixels)
        digests = [self.digests[row] for row in rows]
        saved = self.saved if name is None else self.saved_views.get(name, self.saved)
        if saved:
            images = []
            for row, digest in zip(rows, digests, strict=True):
                images.append(saved.image(row, strengths, self.seed, digest))
            return from_uint8(np.stack(images))
        originals = from_uint8(pixels[list(rows)])
        return compose(originals, strengths, seed=self.seed, digests=digests)

    def predictions(
        self, names: Sequence[str], strengths: dict[str, float], rows: NDArray[np.int64]
    ) -> dict[str, TopPredictions]:
        """Return the predictions of the models ``names`` for images after a composition."""
        parts: dict[str, list[TopPredictions]] = {name: [] for name in names}
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH].tolist()
            # Models that see the same images share the perturbed ones.
            perturbed_by_view: dict[int, NDArray[np.uint8]] = {}
            for name in names:
                view = id(self.views.get(name, self.pixels))
                if view not in perturbed_by_view:
                    perturbed_by_view[view] = to_uint8(self.images(strengths, batch, name))
                parts[name].append(top_predictions(name, perturbed_by_view[view]))
        return {name: TopPredictions.join(batches) for name, batches in parts.items()}

    def simulated(self, strengths: Values, rows: slice) -> Floats:
        """Return scaled statistics (n, D) of the images ``rows`` at ``strengths`` (K,).

        Images that have been simulated at these strengths before are not simulated again.
        """
        if not strengths.any():
            return self.emulator.originals[rows]
        key = strengths.tobytes()
        if key not in self._simulated:
            shape = (len(self.pixels), len(NAMES))
            self._simulated[key] = np.full(shape, np.nan, np.float32)
        statistics = self._simulated[key]
        missing = [row for row in range(len(self.pixels))[rows] if np.isnan(statistics[row, 0])]
        composition = dict(zip(self.emulator.names, strengths.tolist(), strict=True))
        simulated = simulated_statistics(
            self.saved or self.pixels,
            missing,
            strengths=[composition] * len(missing),
            digests=[self.digests[row] for row in missing],
            seed=self.seed,
        )
        statistics[missing] = self.emulator.scaled(simulated)
        return statistics[rows]

    def jpeg_strength(self) -> float:
        """Return the strength of ``jpeg_compression`` that errs as much as the steps of files do.

        It acts on study images, which the files need not have the size of; the error is the mean
        square of what saving changes in a study image.
        """
        if self.saved is None:
            return 0.0
        record = REGISTRY["jpeg_compression"]
        rows = list(range(len(self.unsaved)))[:: max(1, len(self.unsaved) // _COMPARED)]
        wanted = _mean_square(self.pixels[rows], self.saved.unsaved(rows))
        originals = from_uint8(self.unsaved[rows])
        weakest = 0.0
        strongest = 1.0
        for _ in range(_HALVINGS):
            middle = (weakest + strongest) / 2
            saved = to_uint8(compose(originals, {record.name: middle}))
            if _mean_square(saved, self.unsaved[rows]) < wanted:
                weakest = middle
            else:
                strongest = middle
        return round(strongest, 4)

    def accuracies(
        self,
        labels: Mapping[str, NDArray[np.int64]],
        fitted: Estimate,
        conditions: Sequence[Condition],
        images: int,
        remainder: float,
        note: Note,
    ) -> dict[str, AccuracyEstimate]:
        """Return the accuracy of each model in ``labels`` by simulation of the estimate ``fitted``.

        The best composition is tried on all reference images with labels, some ``conditions`` of
        the profile on some, paired with it. ``images`` and ``remainder`` are as in
        ``simulated_estimate``.
        """
        tried = conditions[:_TRIED]
        names = list(labels)
        columns = np.stack(list(labels.values()))
        rows = np.flatnonzero((columns >= 0).any(0))
        total = len(tried) + 2
        outputs = {name: self.originals(name).rows(rows) for name in names}
        original = _correct_predictions(outputs, columns[:, rows])
        note("Predicting", 1, total)
        best = original
        if fitted.strengths:
            outputs = self.predictions(names, fitted.strengths, rows)
            best = _correct_predictions(outputs, columns[:, rows])
        note("Predicting", 2, total)
        rng = np.random.default_rng(self.seed)
        changes = []
        for done, condition in enumerate(tried, 3):
            chosen = rng.permutation(len(rows))[:_IMAGES_OF_TRIED]
            outputs = self.predictions(names, dict(condition.steps), rows[chosen])
            correct = _correct_predictions(outputs, columns[:, rows[chosen]])
            changes.append(correct - best[:, chosen])
            note("Predicting", done, total)
        changes_by_model = np.stack(changes, axis=1)
        estimates = {}
        for index, name in enumerate(names):
            estimates[name] = simulated_estimate(
                original[index],
                best[index],
                changes_by_model[index],
                fitted.share,
                images,
                remainder,
            )
        return estimates


def _correct_predictions(
    outputs: Mapping[str, TopPredictions], labels: NDArray[np.int64]
) -> Values:
    """Whether predictions (models, images) are the ``labels``, as 0 and 1; NaN without a label."""
    classes = [output.classes for output in outputs.values()]
    return np.where(labels >= 0, np.equal(classes, labels), np.nan)


def _mean_square(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """The mean squared difference of images of equal shape, in levels."""
    return float(np.mean((first.astype(np.float32) - second) ** 2))


def _cache_file(*texts: str) -> Path:
    """The file for what ``texts`` and the code of this package determine."""
    key = hashlib.sha256("\n".join([code_digest(), *texts]).encode()).hexdigest()[:24]
    return settings.cache_folder() / "matching" / f"{key}.npz"


def _read_cache(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in ``path``; none where there is no usable file."""
    try:
        file = io.BytesIO(read_regular(path, _LARGEST_CACHE))
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _write_cache(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    def save(temporary: Path) -> None:
        # An open file, because NumPy adds .npz to a path with another ending.
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_whole(path, save)
    except OSError:
        pass  # without the file, the same work is done again
