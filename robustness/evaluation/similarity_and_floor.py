"""Feature similarity, rescaled so that unrelated images (the floor) are at 0.

Most features are never negative, so even unrelated photographs have a similarity of 0.3 to 0.8.
Only measured from that floor can similarities be compared between models and stages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Mapping
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustness import metrics
from robustness.base import settings
from robustness.base.code_digest import code_digest
from robustness.base.files_and_locks import read_regular, write_whole
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED, rescaled
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.pictures import sample_files
from robustness.pictures.eight_bits import round_to_grid
from robustness.pictures.framing_and_study_image import Framing, study_image

Features = Mapping[str, NDArray[np.floating]]
"""By stage, (N, D)."""

Floors = Mapping[str, Mapping[str, float]]
"""By stage and metric, the mean similarity of unrelated images."""

Similarities = dict[str, dict[str, NDArray[np.float64]]]
"""By stage, shallow to deep: (N,) of every feature metric, plain and rescaled."""

Stages = Mapping[str, Mapping[str, float]]
"""``Similarities`` of one image, as in a ``Measurement``."""

_MOST_BYTES = 2**20  # of a file of floors
_BRIGHTER = 0.25
"""Added brightness of the brighter copies of unrelated images, in [0, 1]."""


@lru_cache(maxsize=4)
def strangers(side: int) -> tuple[Images, NDArray[np.intp]]:
    """Unrelated images (N, ``side``, ``side``, 3), and the photograph each is made from, (N,).

    They are the samples, unchanged, brighter and in grey: the five are mostly brown and dim, and
    first stages respond mainly to colour and light. All fifteen are predicted in one pass.
    """
    plain = np.stack(
        [
            study_image(sample_files.sample_bytes(name), Framing(side=side))
            for name in sample_files.REGISTRY.names
        ]
    )
    grey = np.broadcast_to(plain.mean(axis=-1, keepdims=True), plain.shape)
    images_to_compare = np.concatenate([plain, np.minimum(plain + np.float32(_BRIGHTER), 1), grey])
    return round_to_grid(images_to_compare), np.tile(np.arange(len(plain)), 3)


def similarities(clean: Features, features: Features, floors: Floors) -> Similarities:
    """The similarity of ``features`` to those of the original, ``clean`` (one row per stage)."""
    values: Similarities = {}
    for stage, before in clean.items():
        values[stage] = {}
        for name, scores in _scores(before, features[stage]).items():
            values[stage][name] = scores
            values[stage][RESCALED[name]] = rescaled(scores, floors[stage][name])
    return values


def _scores(
    before: NDArray[np.floating], after: NDArray[np.floating]
) -> dict[str, NDArray[np.float64]]:
    return {name: metrics.REGISTRY[name].scores(before, after) for name in RESCALED}


_CHANGING = threading.Lock()
_MEASURING: WeakKeyDictionary[Classifier, threading.Lock] = WeakKeyDictionary()
_FLOORS: WeakKeyDictionary[Classifier, Floors] = WeakKeyDictionary()


def floors(classifier: Classifier) -> Floors:
    """The similarity of unrelated images at each stage, averaged over height and width.

    One pass, the first time on this machine. Thread-safe. Raises ``ImageError`` where the samples
    are missing.
    """
    with _CHANGING:
        measuring = _MEASURING.setdefault(classifier, threading.Lock())
    with measuring:  # once per model
        if classifier not in _FLOORS:
            _FLOORS[classifier] = _read_or_measured(classifier)
        return _FLOORS[classifier]


def _read_or_measured(classifier: Classifier) -> Floors:
    """The floors from a file that is named after everything they depend on, if there can be one."""
    key = (classifier.key, code_digest(__name__), *sample_files.REGISTRY)
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
    file = settings.cache_folder() / "floors" / f"{name}.json"
    if classifier.key:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            saved = json.loads(read_regular(file, _MOST_BYTES))
            return {s: {n: float(saved[s][n]) for n in RESCALED} for s in classifier.stages}
    images, origins = strangers(classifier.side)
    first, second = np.nonzero(np.triu(origins[:, None] != origins))  # of different photographs
    measured = {
        stage: {name: float(scores.mean()) for name, scores in _scores(f[first], f[second]).items()}
        for stage, f in classifier(images).features.items()
    }
    if classifier.key:
        with contextlib.suppress(OSError):  # without a cache they are measured at every start
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(measured).encode())
    return measured


def at(similarities: Similarities, place: int) -> Stages:
    """The similarities of the image at ``place``."""
    return {
        stage: {name: float(values[place]) for name, values in scores.items()}
        for stage, scores in similarities.items()
    }
