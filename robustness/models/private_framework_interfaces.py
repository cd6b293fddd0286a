"""Every private interface of Keras, TensorFlow, OpenVINO and torch that the models use or replace.

A new version may change any of them without notice: a test names each that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

CHECKED_WITH = {"keras": "3.15.1", "tensorflow": "2.21.0", "openvino": "2026.4.1"}
"""The versions that every function here was checked with."""


@contextmanager
def silent_export(torch: Any) -> Iterator[None]:
    """Keep the exporter of ``torch`` from printing a network's whole graph when it fails.

    It turns that log on at every export (torch 2.13).
    """
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log


# --- Keras ----------------------------------------------------------------------------------------


def layer_output(network: Any, layer: Any) -> Any:
    """The output of ``layer`` within the functional ``network``; None unless it is used once there.

    A layer of a sequential or nested model has outputs outside of this network as well.
    """
    ours = [node for nodes in network._nodes_by_depth.values() for node in nodes]
    within = [node for node in layer._inbound_nodes if any(node is other for other in ours)]
    return within[0].outputs[0] if len(within) == 1 and len(within[0].outputs) == 1 else None


def all_layers(network: Any) -> Iterator[Any]:
    """The layers of ``network`` and those within them."""
    yield from network._flatten_layers()


# --- OpenVINO and TensorFlow ----------------------------------------------------------------------


def folded_shapes(model: Any) -> None:
    """Applies OpenVINO's common optimisations to ``model``: constants are folded.

    Its public passes fold constants alone, which leaves operations that a replay cannot take.
    """
    from openvino._offline_transformations import apply_moc_transformations

    apply_moc_transformations(model, cf=True)


def frozen(function: Any) -> Any:
    """The concrete ``function`` with its variables as constants and its calls inlined."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)


def translated(function: Any) -> Any:
    """The OpenVINO model of a concrete function, by OpenVINO's front end.

    ``openvino.convert_model`` reports every use to its makers. A fused batch normalisation becomes
    one operation, instead of four.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow import ConversionExtension
    from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    TFGraphNodeDecoder.get_variable = staticmethod(_captured)
    front_end = FrontEndManager().load_by_framework("tf")
    front_end.add_extension(ConversionExtension("FusedBatchNormV3", _normalised))
    read = GraphIteratorTFGraph(function.graph, share_weights=False)  # to live until the end
    source = front_end.load(read)
    places = [source.get_place_by_tensor_name(tensor.name) for tensor in function.outputs]
    source.override_all_outputs(places)
    return front_end.convert(source)


def _normalised(node: Any) -> list[Any]:
    """TensorFlow's batch normalisation of the last axis of four, as it is at inference."""
    from openvino import opset15 as operations

    values, scale, offset, mean, variance = (node.get_input(place) for place in range(5))
    planes = operations.transpose(values, [0, 3, 1, 2])
    epsilon = node.get_attribute("epsilon")
    normalised = operations.batch_norm_inference(planes, scale, offset, mean, variance, epsilon)
    back = operations.transpose(normalised, [0, 2, 3, 1]).output(0)
    return [back, mean, variance, mean, variance, variance]


_CAPTURED: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def _captured(operation: Any) -> Any:
    """The value that the graph of ``operation`` has captured for it, or None.

    Replaces OpenVINO's own search through all captures and all variables, eleven times for each
    variable. Translating DenseNet121, with 429 of them, takes 4.9 instead of 20.8 s.
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
