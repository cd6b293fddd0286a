"""Calls of the core, remembered across reruns and sessions, keyed by digests.

Arrays go in as underscored arguments: Streamlit samples large arrays when it hashes them and would
take a changed picture for the old one.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from robustness import models
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import (
    Batch,
    evaluate,
    measured,
    measurements,
    picture_scores,
    prepare,
)
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import RunSpec, make_spec
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
    return _decoded(hashlib.sha256(data).hexdigest(), fit, name, data)


@st.cache_resource(show_spinner=False, max_entries=32)
def _decoded(digest: str, fit: str, name: str, _data: bytes) -> Picture:
    return Picture.of(name, study_image(_data, name=name, fit=fit))


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
    def scores(self) -> dict[str, float]:
        """How visible the change is: every metric of the pictures."""
        return {name: float(values[0]) for name, values in self.batch.seen[0].items()}


def change(picture: Picture, condition: Condition, seed: int) -> Change:
    """The picture under ``condition``."""
    return _change(picture.digest, condition, seed, picture)


@st.cache_resource(show_spinner=False, max_entries=64)
def _change(digest: str, condition: Condition, seed: int, _picture: Picture) -> Change:
    start = time.perf_counter()
    batch = prepare([_picture], [condition], seed)
    return Change(batch, 1000 * (time.perf_counter() - start))


@st.cache_resource(show_spinner=False, max_entries=256)
def _clean(weights: str, digest: str, _classifier: Classifier, _image: Images) -> Outputs:
    return _classifier(_image[None])


@st.cache_resource(show_spinner=False, max_entries=512)
def _answer(
    weights: str,
    digest: str,
    condition: Condition,
    seed: int,
    _spec: RunSpec,
    _batch: Batch,
    _classifier: Classifier,
) -> tuple[Measurement, float]:
    clean = _clean(weights, digest, _classifier, _batch.frames[0, 0])
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
    weights = dict(spec.models)[model]
    row, milliseconds = _answer(
        weights, picture.digest, condition, spec.seed, spec, altered.batch, classifier
    )
    return replace(row, image=picture.name, label=picture.label), milliseconds


def comparison(spec: RunSpec, picture: Picture, model: str, changed: Picture) -> Measurement:
    """What ``model`` makes of ``changed``, a picture made of ``picture`` by no perturbation.

    It stands in the row under the only condition of ``spec``.
    """
    classifier = models.load(model, side=spec.side)
    weights = dict(spec.models)[model]
    before, after = (
        _clean(weights, shown.digest, classifier, shown.image) for shown in (picture, changed)
    )
    seen = picture_scores(picture.image[None], changed.image[None])
    return measurements(spec, picture, classifier.record, before, after, seen)[0]


def attacked_picture(picture: Picture, condition: Condition, seed: int, model: str) -> Images:
    """The picture (S, S, 3) after an attack on ``model``, as a run over a dataset makes it."""
    return _attacked(picture.digest, picture.label, condition, seed, model, picture)


@st.cache_resource(show_spinner=False, max_entries=128)
def _attacked(
    digest: str,
    label: int | None,
    condition: Condition,
    seed: int,
    model: str,
    _picture: Picture,
) -> Images:
    classifier = models.load(model, side=len(_picture.image))
    return condition.against(_picture, seed, classifier)


class Kept:
    """The newest results by key, shared by all sessions; safe between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._results: OrderedDict[str, list[Any]] = OrderedDict()

    def get(self, key: str) -> list[Any] | None:
        """The result under ``key``; None if there is none."""
        with self._lock:
            return self._results.get(key)

    def put(self, key: str, rows: list[Any]) -> None:
        """Keeps ``rows`` under ``key`` and forgets the oldest beyond the limit."""
        with self._lock:
            self._results[key] = rows
            while len(self._results) > self._limit:
                self._results.popitem(last=False)


@st.cache_resource(show_spinner=False)
def kept_rows() -> Kept:
    """Finished evaluations and sweeps of this server. Unfinished ones are never kept."""
    return Kept(64)


def run_key(
    pictures: Sequence[Picture],
    names: Sequence[str],
    conditions: Sequence[Condition],
    seed: int,
) -> str:
    """The key of an evaluation: its RunSpec and the pictures' digests."""
    spec = make_spec(names, conditions, seed=seed)
    return ":".join([spec.digest, *(picture.digest for picture in pictures)])


def evaluation(
    pictures: Sequence[Picture],
    names: Sequence[str],
    conditions: Sequence[Condition],
    seed: int,
) -> Iterator[Measurement]:
    """The rows of an evaluation as they come."""
    return evaluate(make_spec(names, conditions, seed=seed), pictures)
