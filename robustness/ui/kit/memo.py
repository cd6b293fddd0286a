"""Calls of the core, remembered across reruns and sessions, keyed by digests of pixels and weights.

Arrays go in as underscored arguments: Streamlit samples large arrays when it hashes them and would
take a changed picture for the old one.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from robustness import models
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import measurements, perturbed, picture_scores
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import RunSpec
from robustness.models import Classifier, Outputs
from robustness.pictures.fitting import study_image, to_png
from robustness.pictures.picture import Picture
from robustness.pictures.samples import sample_bytes

Images = NDArray[np.float32]


@st.cache_resource(show_spinner=False, max_entries=16)
def sample_picture(name: str, fit: str) -> Picture:
    """A bundled sample as a study image."""
    return Picture.of(name, study_image(sample_bytes(name), name=name, fit=fit))


def uploaded_picture(name: str, data: bytes, fit: str) -> Picture:
    """An uploaded file as a study image; raises ``ImageError`` with a sentence for a bad one."""
    return replace(_decoded(hashlib.sha256(data).hexdigest(), fit, name, data), name=name)


@st.cache_resource(show_spinner=False, max_entries=32)
def _decoded(digest: str, fit: str, _name: str, _data: bytes) -> Picture:
    return Picture.of("", study_image(_data, name=_name, fit=fit))


def original_png(picture: Picture) -> bytes:
    """The clean picture as a PNG, encoded once."""
    return _png(picture.digest, picture.image)


@st.cache_resource(show_spinner=False, max_entries=32)
def _png(digest: str, _image: Images) -> bytes:
    return to_png(_image)


@dataclass(frozen=True)
class Change:
    """A picture under one condition: the result (1, S, S, 3), its scores, and the time it took."""

    images: Images
    scores: dict[str, NDArray[np.float64]]
    milliseconds: float


def change(picture: Picture, condition: Condition, seed: int) -> Change:
    """The picture under ``condition``."""
    return _change(picture.digest, condition, seed, picture)


@st.cache_resource(show_spinner=False, max_entries=64)
def _change(digest: str, condition: Condition, seed: int, _picture: Picture) -> Change:
    start = time.perf_counter()
    images = perturbed(_picture, [condition], seed)
    scores = picture_scores(_picture.image[None], images)
    return Change(images, scores, 1000 * (time.perf_counter() - start))


@st.cache_resource(show_spinner=False, max_entries=512)
def _outputs(
    model: str,
    weights: str,
    digest: str,
    condition: Condition | None,
    seed: int,
    _classifier: Classifier,
    _images: Images,
) -> tuple[Outputs, float]:
    start = time.perf_counter()
    outputs = _classifier(_images)
    return outputs, 1000 * (time.perf_counter() - start)


def answer(
    spec: RunSpec, picture: Picture, model: str, altered: Change
) -> tuple[Measurement, float]:
    """What ``model`` makes of the only condition of ``spec``, and its forward time in ms.

    The clean pass of a picture is computed once a model, however often the condition changes.
    """
    classifier = models.load(model, side=spec.side)
    condition = spec.conditions[0]
    weights = models.digest(classifier.record)
    clean, _ = _outputs(model, weights, picture.digest, None, 0, classifier, picture.image[None])
    outputs, milliseconds = _outputs(
        model, weights, picture.digest, condition, spec.seed, classifier, altered.images
    )
    rows = measurements(spec, picture, classifier.record, clean, outputs, altered.scores)
    return rows[0], milliseconds


def comparison(spec: RunSpec, picture: Picture, model: str, changed: Picture) -> Measurement:
    """What ``model`` makes of ``changed``, a picture made of ``picture`` by no perturbation.

    It stands in the row under the only condition of ``spec``.
    """
    classifier = models.load(model, side=spec.side)
    weights = models.digest(classifier.record)
    clean, outputs = (
        _outputs(model, weights, shown.digest, None, 0, classifier, shown.image[None])[0]
        for shown in (picture, changed)
    )
    seen = picture_scores(picture.image[None], changed.image[None])
    return measurements(spec, picture, classifier.record, clean, outputs, seen)[0]


def attacked_picture(picture: Picture, condition: Condition, seed: int, model: str) -> Images:
    """The picture (S, S, 3) after an attack on ``model``, as a run over a dataset makes it."""
    weights = models.digest(models.REGISTRY[model])
    return _attacked(picture.digest, picture.label, condition, seed, model, weights, picture)


@st.cache_resource(show_spinner=False, max_entries=128)
def _attacked(
    digest: str,
    label: int | None,
    condition: Condition,
    seed: int,
    model: str,
    weights: str,
    _picture: Picture,
) -> Images:
    classifier = models.load(model, side=len(_picture.image))
    return condition.against(_picture, seed, classifier)
