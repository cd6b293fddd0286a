"""From a network in TensorFlow to the same one in OpenVINO, shown to answer the same."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from robustness.base.errors import RobustnessError
from robustness.models.in_tensorflow.runtime import tensorflow
from robustness.models.in_tensorflow.study_graph import StudyGraph
from robustness.models.inference.openvino_core import first_line
from robustness.models.inference.openvino_pass import OpenVinoPass
from robustness.models.model_record import UserFile

TOLERANCE = 1e-4
"""Largest difference of a probability. In float32 the two differ by less than 1e-6; a network that
asks for half precision is computed in float32, and differs by more."""


class RefusalError(RobustnessError):
    """OpenVINO cannot take a network; the message says why."""


def convert(graph: StudyGraph) -> tuple[Any, OpenVinoPass]:
    """The OpenVINO model of ``graph``, and its pass.

    The model maps study images (N, S, S, 3) to probabilities and each stage's whole activations.
    It holds copies of the weights. Raises ``RefusalError`` for a network with something that
    OpenVINO lacks, or that answers otherwise there.
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
        model = _translated(_frozen(traced) if _has_functions(graph) else traced)
        result = OpenVinoPass(model, graph.stages)
        pictures = np.random.default_rng(0).random((2, side, side, 3), np.float32)
        pictures[1] = pictures[1, :1, :1]  # one colour
        probabilities = np.concatenate([result(one)[0] for one in pictures[:, None]])
    except Exception as error:  # its front end raises whatever an operation's translation does
        raise RefusalError(f"OpenVINO cannot take it ({first_line(error)})") from error
    difference = np.abs(probabilities - traced(tf.constant(pictures))[0].numpy()).max()
    if not difference <= TOLERANCE:
        raise RefusalError(f"OpenVINO's probabilities differ from TensorFlow's by {difference:.1g}")
    return model, result


def _translated(function: Any) -> Any:
    """The OpenVINO model of a concrete function.

    By the front end itself: ``openvino.convert_model`` reports every use to its makers.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    TFGraphNodeDecoder.get_variable = staticmethod(_captured)
    front_end = FrontEndManager().load_by_framework("tf")
    read = GraphIteratorTFGraph(function.graph, share_weights=False)  # to live until the end
    source = front_end.load(read)
    places = [source.get_place_by_tensor_name(tensor.name) for tensor in function.outputs]
    source.override_all_outputs(places)
    return front_end.convert(source)


_CAPTURED: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def _captured(operation: Any) -> Any:
    """The value that the graph of ``operation`` has captured for it, or None.

    In place of OpenVINO's own search through all captures and all variables, eleven times for each
    variable: with DenseNet121's 429 it was a third of the time of its conversion.
    """
    graph = operation.graph
    if not hasattr(graph, "captures"):
        return None
    if graph not in _CAPTURED:
        variables = {id(variable.handle): variable for variable in graph.variables}
        _CAPTURED[graph] = {
            inside.name: outside
            if outside.dtype.name != "resource"
            else variables[id(outside)].read_value_no_copy()
            for outside, inside in graph.captures
            if outside.dtype.name != "resource" or id(outside) in variables
        }
    return _CAPTURED[graph].get(operation.outputs[0].name)


def _has_functions(graph: StudyGraph) -> bool:
    """Whether its variables may lie in functions of its own, as a SavedModel's do."""
    return isinstance(graph.record.weights, UserFile)


def _frozen(function: Any) -> Any:
    """``function`` with its variables as constants, and all that it calls within it."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)
