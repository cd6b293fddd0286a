"""Calls of the core, remembered across reruns and sessions, keyed by digests of pixels and weights.

Arrays go in as underscored arguments: Streamlit samples large arrays when it hashes them and would
take a changed picture for the old one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from robustness import models
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import Batch, measured, measurements, picture_scores, prepare
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
    """A picture under one condition: the ``batch`` that models are asked, and the time it took."""

    batch: Batch
    milliseconds: float

    @property
    def image(self) -> Images:
        """The perturbed picture, (S, S, 3)."""
        return self.batch.frames[0, 1]

    @property
    def scores(self) -> Mapping[str, NDArray[np.float64]]:
        """The ``picture_scores`` of the image."""
        return self.batch.seen[0]


def change(picture: Picture, condition: Condition, seed: int) -> Change:
    """The picture under ``condition``."""
    return _change(picture.digest, condition, seed, picture)


@st.cache_resource(show_spinner=False, max_entries=64)
def _change(digest: str, condition: Condition, seed: int, _picture: Picture) -> Change:
    start = time.perf_counter()
    batch = prepare([_picture], [condition], seed)
    return Change(batch, 1000 * (time.perf_counter() - start))


@st.cache_resource(show_spinner=False, max_entries=256)
def _clean(
    model: str, weights: str, digest: str, _classifier: Classifier, _image: Images
) -> Outputs:
    return _classifier(_image[None])


@st.cache_resource(show_spinner=False, max_entries=512)
def _answer(
    model: str,
    weights: str,
    digest: str,
    condition: Condition,
    seed: int,
    _spec: RunSpec,
    _batch: Batch,
    _classifier: Classifier,
) -> tuple[Measurement, float]:
    clean = _clean(model, weights, digest, _classifier, _batch.frames[0, 0])
    start = time.perf_counter()
    ((row,),) = measured(_spec, _batch, _classifier, clean=[clean])
    return row, 1000 * (time.perf_counter() - start)


def answer(
    spec: RunSpec, picture: Picture, model: str, altered: Change
) -> tuple[Measurement, float]:
    """What ``model`` makes of the only condition of ``spec``, and how long it took in ms.

    The clean pass of a picture is computed once a model, however often the condition changes.
    """
    classifier = models.load(model, side=spec.side)
    (condition,) = spec.conditions
    weights = models.digest(classifier.record)
    row, milliseconds = _answer(
        model, weights, picture.digest, condition, spec.seed, spec, altered.batch, classifier
    )
    return replace(row, image=picture.name, label=picture.label), milliseconds


def comparison(spec: RunSpec, picture: Picture, model: str, changed: Picture) -> Measurement:
    """What ``model`` makes of ``changed``, a picture made of ``picture`` by no perturbation.

    It stands in the row under the only condition of ``spec``.
    """
    classifier = models.load(model, side=spec.side)
    weights = models.digest(classifier.record)
    before, after = (
        _clean(model, weights, shown.digest, classifier, shown.image)
        for shown in (picture, changed)
    )
    seen = picture_scores(picture.image[None], changed.image[None])
    return measurements(spec, picture, classifier.record, before, after, seen)[0]


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
