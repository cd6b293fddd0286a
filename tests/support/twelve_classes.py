"""Networks of a test's own as classifiers of twelve classes, for attacks to be made on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.support.keras_classifiers import keras_classifier
from robustness import models
from robustness.models import Classifier
from robustness.models.record import Normalisation


def of_twelve_classes(network: Any, side: int, *, mean: float, spread: float) -> Classifier:
    """``network``, of images of ``side`` pixels less ``mean`` over ``spread``, with its head."""
    record = replace(
        models.REGISTRY["SqueezeNet"],
        normalisation=Normalisation("RGB", 1.0, (mean,) * 3, (spread,) * 3),
        input_size=side,
        labels=lambda: models.Labels("twelve", tuple("abcdefghijkl")),
    )
    return keras_classifier(record, network, (("head", "head"),), side=side)
