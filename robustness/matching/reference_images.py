"""The reference images of a match: their emulator, simulations, predictions and accuracies."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustness import __version__, models
from robustness.base import settings
from robustness.base.files import put_whole, read_regular
from robustness.base.progress import Note
from robustness.evaluation.condition import Condition
from robustness.matching.accuracy import ExpectedAccuracy, expect_accuracy
from robustness.matching.confidence import (
    SIMULATED,
    Confidence,
    TopPredictions,
    compositions,
    identify,
    predict,
)
from robustness.matching.emulator import Emulator, train, version
from robustness.matching.estimate import Estimate, Values
from robustness.matching.image_statistics import NAMES, Floats, batch_statistics
from robustness.perturbations import compose
from robustness.pictures.eight_bits import from_uint8, to_uint8

_SHARED_IMAGES = 20
"""Images on which each composition of the profile is tried."""
_BATCH = 32
_LARGEST_CACHE = 2**28


def _read_predictions(path: Path) -> TopPredictions | None:
    try:
        if len(read_regular(path, _LARGEST_CACHE)):
            with np.load(path, allow_pickle=False) as file:
                return TopPredictions(*(file[name] for name in TopPredictions._fields))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    return None


def _put_predictions(path: Path | None, output: TopPredictions) -> None:
    if path is None:
        return

    def save(place: Path) -> None:
        with place.open("wb") as file:
            np.savez(file, **output._asdict())

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_whole(path, save)
    except OSError:
        pass  # a cache that cannot be written costs time alone


class ReferenceImages:
    """The reference images with their emulator, simulations and accuracies."""

    emulator: Emulator
    """There once it has learnt."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        seed: int,
        views: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> None:
        """``views`` are the images as the models of these names see them, if not as ``pixels``."""
        self.pixels, self.seed, self.views = pixels, seed, views or {}
        self.digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
        self._originals: dict[str, TopPredictions] = {}
        self._simulated: dict[bytes, Floats] = {}

    def learn(self, note: Note) -> None:
        """Get the emulator, before any simulation."""
        self.emulator = self._emulator(note)

    def originals(self, name: str) -> TopPredictions:
        """The predictions of the model ``name`` for the reference."""
        if name not in self._originals:
            self._originals[name] = predict(name, self.views.get(name, self.pixels))
        return self._originals[name]

    def confidences(
        self, labels: dict[str, NDArray[np.int64]], note: Note
    ) -> dict[str, Confidence]:
        """How the confidence of each model in ``labels`` tells its accuracy."""
        drawn, draws = compositions(self.seed), np.random.default_rng(self.seed)
        usable = np.flatnonzero(np.any([column >= 0 for column in labels.values()], 0))
        chosen = [np.sort(draws.permutation(usable)[:SIMULATED]) for _ in drawn]
        paths = {name: self._predictions_path(name, drawn, chosen) for name in labels}
        outputs = {name: _read_predictions(path) for name, path in paths.items() if path}
        missing = [name for name in labels if not outputs.get(name)]
        parts: dict[str, list[TopPredictions]] = {name: [] for name in missing}
        for done, (strengths, rows) in enumerate(zip(drawn, chosen, strict=True), 1):
            images = self.images_of(missing, strengths, rows.tolist())
            for name in missing:
                parts[name].append(predict(name, to_uint8(images[name])))
            note("Estimating", done, len(drawn))
        fitted = {}
        for name, column in labels.items():
            output = outputs.get(name)
            if output is None:
                output = TopPredictions.join([self.originals(name), *parts[name]])
                _put_predictions(paths[name], output)
            ends = np.cumsum([len(self.pixels), *map(len, chosen)])
            self._originals[name] = output.rows(np.arange(ends[0]))
            simulated = []
            for rows, start in zip(chosen, ends[:-1], strict=True):
                known = np.flatnonzero(column[rows] >= 0)
                simulated.append((output.rows(start + known), rows[known]))
            fitted[name] = Confidence(self._originals[name], column, simulated)
        return fitted

    def _predictions_path(
        self, name: str, drawn: list[dict[str, float]], chosen: list[NDArray[np.int64]]
    ) -> Path | None:
        """Where the cache has a model's predictions; None for a model that cannot be identified."""
        pixels = self.views.get(name, self.pixels)
        model = identify(name, pixels.shape[1])
        rows = [row.tolist() for row in chosen]
        parts = [__version__, model, str(self.seed), repr(drawn), repr(rows), *self.digests]
        if name in self.views:
            parts.append(hashlib.sha256(pixels.tobytes()).hexdigest())
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        return settings.cache_folder() / "matching" / f"{key}.npz" if model else None

    def _emulator(self, note: Note) -> Emulator:
        """The emulator of these images, from the cache or trained and cached."""
        parts = [__version__, version(), str(self.seed), *self.digests]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        path = settings.cache_folder() / "matching" / f"{key}.npz"
        try:
            if len(read_regular(path, _LARGEST_CACHE)):
                return Emulator.load(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass
        emulator = train(self.pixels, self.seed, note)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            put_whole(path, emulator.save)
        except OSError:
            pass  # a cache that cannot be written costs time alone
        return emulator

    def images(
        self, strengths: dict[str, float], rows: Sequence[int], name: str | None = None
    ) -> Floats:
        """The reference's images ``rows`` after a composition, as the model ``name`` sees them."""
        pixels = self.pixels if name is None else self.views.get(name, self.pixels)
        digests = [self.digests[row] for row in rows]
        plain = from_uint8(pixels[list(rows)])
        return compose(plain, strengths, seed=self.seed, digests=digests)

    def images_of(
        self, names: Iterable[str], strengths: dict[str, float], rows: Sequence[int]
    ) -> dict[str, Floats]:
        """``images`` for each of the models ``names``; those that see them alike share them."""
        alike: dict[int, Floats] = {}
        images = {}
        for name in names:
            key = id(self.views.get(name, self.pixels))
            if key not in alike:
                alike[key] = self.images(strengths, rows, name)
            images[name] = alike[key]
        return images

    def simulated(self, vector: Values, rows: slice) -> Floats:
        """Scaled statistics of the images ``rows`` at strengths (K,)."""
        if not vector.any():
            return self.emulator.originals[rows]
        strengths = dict(zip(self.emulator.names, vector.tolist(), strict=True))
        values = self._simulated.setdefault(
            vector.tobytes(), np.full((len(self.pixels), len(NAMES)), np.nan, np.float32)
        )
        chosen = [row for row in range(len(self.pixels))[rows] if np.isnan(values[row, 0])]
        values[chosen] = self.emulator.scaled(
            batch_statistics(lambda index: self.images(strengths, [chosen[index]])[0], len(chosen))
        )
        return values[rows]

    def accuracies(
        self,
        labels: dict[str, NDArray[np.int64]],
        fitted: Estimate,
        conditions: Sequence[Condition],
        images: int,
        remainder: float,
        note: Note,
    ) -> tuple[ExpectedAccuracy, ...]:
        """Expected accuracies, from predictions on the reference under the estimate.

        The best composition is tried on all images, those of the profile on some, paired with it.
        """
        networks = {
            name: models.load(name, side=self.views.get(name, self.pixels).shape[1])
            for name in labels
        }
        rows = np.flatnonzero(np.any([indices >= 0 for indices in labels.values()], 0))

        def correct(strengths: dict[str, float], some: NDArray[np.int64]) -> Values:
            """Correct predictions (models, images), NaN without a label."""
            parts = []
            for start in range(0, len(some), _BATCH):
                chosen = some[start : start + _BATCH]
                batch = self.images_of(networks, strengths, chosen.tolist())
                answers = [
                    network(batch[name]).probabilities.argmax(1)
                    for name, network in networks.items()
                ]
                expected = np.stack([column[chosen] for column in labels.values()])
                parts.append(np.where(expected >= 0, answers == expected, np.nan))
            return np.concatenate(parts, 1)

        total = len(conditions) + 2
        original = np.stack(
            [
                np.where(column >= 0, self.originals(name).classes == column, np.nan)[rows]
                for name, column in labels.items()
            ]
        )
        note("Predicting", 1, total)
        best = correct(fitted.strengths, rows) if fitted.strengths else original
        note("Predicting", 2, total)
        draws = np.random.default_rng(self.seed)
        changes = []
        for done, condition in enumerate(conditions, 3):
            some = draws.permutation(len(rows))[:_SHARED_IMAGES]
            changes.append(correct(condition.as_dict(), rows[some]) - best[:, some])
            note("Predicting", done, total)
        return tuple(
            expect_accuracy(name, *answers, fitted.share, images, remainder)
            for name, answers in zip(
                labels, zip(original, best, np.stack(changes, 1), strict=True), strict=True
            )
        )
