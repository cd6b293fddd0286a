"""Classifiers of Keras networks that are in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from robustness.models import Classifier, ModelRecord
from robustness.models.graph.graph_preprocessing_and_facts import ANY_BATCH, study_models
from robustness.models.graph.inspection_and_conversion import use_of
from robustness.models.graph.keras_reading_and_conversion import keras_graph
from robustness.models.model_and_weights_record import Stages
from robustness.models.run.openvino_and_engine_choice import TENSORFLOW, ForwardPass, chosen
from robustness.models.run.openvino_pass import OpenVinoPass
from robustness.models.run.replay.network_and_forward_pass import ReplayedPass
from robustness.pictures.framing_and_study_image import STUDY_SIDE


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
