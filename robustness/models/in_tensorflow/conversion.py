"""Conversion of a network from TensorFlow to OpenVINO, verified on images."""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness.base.errors import RobustnessError
from robustness.models.in_tensorflow.internals import frozen, translated
from robustness.models.in_tensorflow.runtime import tensorflow
from robustness.models.in_tensorflow.study_graph import StudyGraph
from robustness.models.inference.openvino_core import first_line
from robustness.models.inference.openvino_pass import OpenVinoPass
from robustness.models.model_record import ModelRecord, Stages

TOLERANCE = 1e-4
"""Largest accepted difference of a probability. In float32 both differ by less than 1e-6; a network
in half precision is computed in float32 and differs by more."""


class RefusalError(RobustnessError):
    """OpenVINO cannot run a network; the message says why."""


def convert(graph: StudyGraph) -> tuple[Any, OpenVinoPass]:
    """Converts ``graph``; returns its OpenVINO model and pass.

    The model maps study images (N, S, S, 3) to probabilities and each stage's full activations.
    It copies the weights. Raises ``RefusalError`` if OpenVINO lacks something that the network
    needs, or if its predictions differ.
    """
    tf = tensorflow()
    side = graph.side

    @tf.function(
        input_signature=[tf.TensorSpec((None, side, side, 3), tf.float32)], autograph=False
    )
    def answers(images: Any) -> Any:
        probabilities, activations = graph.answers(images)
        return [probabilities, *activations]

    traced = answers.get_concrete_function()
    try:
        model = translated(
            frozen(traced) if _has_functions(graph) else traced,
            whole_normalisations=not graph.folded,
        )
        result = OpenVinoPass(model, graph.stages)
        pictures = np.random.default_rng(0).random((2, side, side, 3), np.float32)
        pictures[1] = pictures[1, :1, :1]  # one colour
        probabilities = np.concatenate([result(one)[0] for one in pictures[:, None]])
    except Exception as error:  # the front end raises many types of exceptions
        raise RefusalError(f"OpenVINO cannot take it ({first_line(error)})") from error
    difference = np.abs(probabilities - traced(tf.constant(pictures))[0].numpy()).max()
    if not difference <= TOLERANCE:
        raise RefusalError(f"OpenVINO's probabilities differ from TensorFlow's by {difference:.1g}")
    return model, result


def unfolded(record: ModelRecord, network: Any, stages: Stages, side: int) -> Any:
    """The OpenVINO model of ``network``, as ``convert`` makes it, with its batch normalisations.

    Raises ``ParameterError`` for a network without any, ``RefusalError`` as ``convert`` does.
    """
    return convert(StudyGraph(record, network, stages, side=side, folded=False))[0]


def _has_functions(graph: StudyGraph) -> bool:
    """Whether its variables may be inside functions, as in a SavedModel."""
    return graph.record.weights.own is not None
