"""The study's networks, with random weights where the published files are missing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from robustness import models
from robustness.models import Classifier, WeightsState
from robustness.models import load as published_load
from robustness.models import state as published_state
from robustness.models.in_tensorflow.loading import load_network
from robustness.models.in_tensorflow.runtime import keras
from robustness.models.in_tensorflow.study_graph import StudyGraph
from robustness.models.in_tensorflow.transformers import rewire
from robustness.models.model_record import Stages

NAMES = tuple(record.name for record in models.REGISTRY if record.group == models.STUDY)


@cache
def random_classifier(name: str, side: int = 224) -> Classifier:
    """The classifier called ``name``; with random weights where its file is missing."""
    record = models.REGISTRY[name]
    if published_state(record).ready:
        return published_load(name, side=side)
    return Classifier.of(record, *_network(record), side=side)


def study_graph(name: str) -> StudyGraph:
    """The network of ``random_classifier`` in TensorFlow, for peers."""
    record = models.REGISTRY[name]
    return StudyGraph(record, *_network(record))


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
    patch("robustness.models.weights.ready.state", lambda record: ready).start()
