"""Classifiers of Keras networks that are in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from robustness.images.framing import STUDY_SIDE
from robustness.models import Classifier, ModelRecord
from robustness.models.conversion import use_of
from robustness.models.engine import TENSORFLOW, ForwardPass, chosen
from robustness.models.graph import ANY_BATCH, study_models
from robustness.models.keras import keras_graph
from robustness.models.passes import OpenVinoPass
from robustness.models.record import Stages
from robustness.models.replay import ReplayedPass


def keras_classifier(
    record: ModelRecord, network: Any, stages: Stages, *, side: int = STUDY_SIDE
) -> Classifier:
    """The classifier of a functional Keras ``network`` with its weights, kept nowhere.

    It maps normalised pixels of the record's input size to probabilities; ``stages`` are layers of
    it.
    """
    use = replace(use_of(record, side), features=tuple(stage for stage, _ in stages))
    graph = keras_graph(network, stages, record.shape)
    made = study_models(graph, use, tapped=True)(ANY_BATCH)
    forward: ForwardPass = (
        ReplayedPass(made.model, made.stages, record.label)
        if chosen().engine == TENSORFLOW
        else OpenVinoPass(made.model, made.stages, precision=chosen().precision)
    )
    return Classifier(record, forward, partial(forward.network, record.label), side)
