"""The study's networks, with random weights where the published files are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.support.keras_classifiers import keras_classifier
from robustness import models
from robustness.models import Classifier, WeightsState
from robustness.models import load as published_load
from robustness.models import state as published_state
from robustness.models.catalogue import rewire
from robustness.models.frameworks import keras, layer_output, tensorflow
from robustness.models.graph import factors, resizing
from robustness.models.keras import load_network
from robustness.models.record import Stages

NAMES = tuple(record.name for record in models.REGISTRY if record.group == models.STUDY)


@cache
def random_classifier(name: str, side: int = 224) -> Classifier:
    """The classifier called ``name``; with random weights where its file is missing."""
    record = models.REGISTRY[name]
    if published_state(record).ready:
        return published_load(name, side=side)
    return keras_classifier(record, *_network(record), side=side)


@dataclass(frozen=True)
class StudyNetwork:
    """A Keras network over study images of 224 pixels, in TensorFlow.

    ``model`` maps what ``prepare`` makes of them to probabilities and each stage's activations.
    """

    model: Any
    prepare: Callable[[Any], Any]


def study_network(name: str) -> StudyNetwork:
    """The network of ``random_classifier`` in Keras, for peers."""
    record = models.REGISTRY[name]
    network, stages = _network(record)
    outputs = [layer_output(network, network.get_layer(layer)) for _, layer in stages]
    model = keras().Model(network.inputs, [network.output, *outputs])
    tf = tensorflow()
    (scale, offset) = factors(record.normalisation)

    def prepare(images: Any) -> Any:
        if (resize := resizing(224, record.shape)) is not None:
            rows, columns = resize
            images = tf.einsum("hr,nrsc,ws->nhwc", rows, images, columns)
            images = tf.clip_by_value(images, 0.0, 1.0)
        ordered = images if record.normalisation.order == "RGB" else images[..., ::-1]
        return ordered * scale + offset

    return StudyNetwork(model, prepare)


def _network(record: models.ModelRecord) -> tuple[Any, Stages]:
    if published_state(record).ready:
        return load_network(record)
    keras().utils.set_random_seed(0)
    network = record.build()
    if record.weights.requires:
        network = rewire(network)
    return network, record.stages


@cache
def stand_in() -> None:
    """Makes this process take the study's models for ready, with ``random_classifier``."""
    ready = WeightsState(True, Path("random"), "")
    patch("robustness.models.load", random_classifier).start()
    patch("robustness.models.state", lambda record: ready).start()
    patch("robustness.models.weights.state", lambda record: ready).start()
