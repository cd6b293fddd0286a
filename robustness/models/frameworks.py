"""TensorFlow and Keras, imported on demand, and the private interfaces of frameworks.

Importing TensorFlow takes seconds, so no module imports it or Keras at its top, but calls
``tensorflow()`` or ``keras()``. Then ``--help`` and the first paint of a page never wait for them.

All private interfaces of Keras, TensorFlow, OpenVINO and torch that the models use or replace are
used here. A new version may change them without notice; a test names each that is gone.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from robustness.base import memory

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
    """The output of ``layer`` in the functional ``network``.

    None unless the network uses the layer exactly once, and the layer has a single output.
    """
    network_node_ids: set[int] = set()
    for nodes in network._nodes_by_depth.values():
        network_node_ids.update(id(node) for node in nodes)
    # A layer of a sequential or nested model has nodes outside of this network as well.
    layer_nodes = [node for node in layer._inbound_nodes if id(node) in network_node_ids]
    if len(layer_nodes) != 1:
        return None
    outputs = layer_nodes[0].outputs
    if len(outputs) != 1:
        return None
    return outputs[0]


def all_layers(network: Any) -> Iterator[Any]:
    """Yield the layers of ``network`` and those within them."""
    yield from network._flatten_layers()


# --- OpenVINO and TensorFlow ----------------------------------------------------------------------


def folded_shapes(model: Any) -> None:
    """Apply OpenVINO's common optimisations to ``model``, which fold constants among others.

    The public passes fold constants only, which leaves operations that cannot be replayed.
    """
    from openvino._offline_transformations import apply_moc_transformations

    apply_moc_transformations(model, cf=True)


def frozen(function: Any) -> Any:
    """The concrete ``function`` with its variables as constants, and its calls inlined."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)


def translated(function: Any) -> Any:
    """The OpenVINO model of a concrete function, by OpenVINO's front end.

    A fused batch normalisation becomes one operation, instead of four. The public
    ``openvino.convert_model`` is not used, as it reports every use to its makers.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow import ConversionExtension
    from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    TFGraphNodeDecoder.get_variable = staticmethod(_captured_value)
    front_end = FrontEndManager().load_by_framework("tf")
    front_end.add_extension(ConversionExtension("FusedBatchNormV3", _batch_normalisation))
    # The iterator has to live until the model is converted, so it needs a name.
    iterator = GraphIteratorTFGraph(function.graph, share_weights=False)
    model = front_end.load(iterator)
    outputs = [model.get_place_by_tensor_name(tensor.name) for tensor in function.outputs]
    model.override_all_outputs(outputs)
    return front_end.convert(model)


def _batch_normalisation(node: Any) -> list[Any]:
    """Translate TensorFlow's batch normalisation of the last of four axes, as at inference.

    Returns the six outputs that the operation ``node`` has in TensorFlow.
    """
    from openvino import opset15 as operations

    values, scale, offset, mean, variance = [node.get_input(index) for index in range(5)]
    channels_second = operations.transpose(values, [0, 3, 1, 2])
    normalised = operations.batch_norm_inference(
        channels_second, scale, offset, mean, variance, node.get_attribute("epsilon")
    )
    channels_last = operations.transpose(normalised, [0, 2, 3, 1]).output(0)
    return [channels_last, mean, variance, mean, variance, variance]


_CAPTURED_VALUES: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""By graph: the captured values by the name of the tensor that stands for them."""


def _captured_value(operation: Any) -> Any:
    """The value that the graph of ``operation`` has captured for it, or None.

    Replaces OpenVINO's own search through all captures and all variables, eleven times for each
    variable. Translating DenseNet121, with 429 of them, takes 4.9 instead of 20.8 s.
    """
    graph = operation.graph
    if not hasattr(graph, "captures"):
        return None
    if graph not in _CAPTURED_VALUES:
        _CAPTURED_VALUES[graph] = _read_captures(graph)
    return _CAPTURED_VALUES[graph].get(operation.outputs[0].name)


def _read_captures(graph: Any) -> dict[str, Any]:
    variables = {id(variable.handle): variable for variable in graph.variables}
    values = {}
    for captured, placeholder in graph.captures:
        if captured.dtype.name != "resource":
            values[placeholder.name] = captured
        elif id(captured) in variables:
            values[placeholder.name] = variables[id(captured)].read_value_no_copy()
    return values


# --- imports on demand ----------------------------------------------------------------------------

_importing = threading.Lock()
_START_UP_NOISE = re.compile(rb"^(WARNING: All log messages before absl|[IWE]0000 )")
_HIDDEN_PACKAGES = frozenset({"cv2", "matplotlib", "pandas", "scipy", "sklearn"})
"""Optional packages that TensorFlow and Keras try to import, and no network needs."""


def tensorflow() -> Any:
    """The module ``tensorflow``, which logs little, and is the backend of Keras."""
    module = sys.modules.get("tensorflow")
    # While another thread imports it, the module is there but not complete.
    if module is not None and not _importing.locked():
        return module
    with _importing:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        if "tensorflow" in sys.modules:
            return sys.modules["tensorflow"]
        # Its own pool for oneDNN never shrinks: after VGG16 was released, 1.6 GB stayed. The
        # system's allocator returns memory, but by default maps and unmaps every large activation,
        # which made a pass up to three times as slow; kept in one heap until it is given back, it
        # is as fast.
        if memory.keep_everything():
            os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        with _without_start_up_noise(), _fast_import():
            import tensorflow as tf

            tf.config.list_logical_devices()  # looks for accelerators and logs about them
        return tf


@cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    devices = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    # TensorFlow takes seconds to import, so it is asked only where there is a device.
    if not devices or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return bool(tensorflow().config.list_physical_devices("GPU"))


def keras() -> Any:
    """The module ``keras`` with TensorFlow as its backend."""
    tensorflow()
    import keras as keras_module

    return keras_module


def tflite_interpreter(path: Path) -> Any:
    """TensorFlow Lite's interpreter of the file ``path``, on all cores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its replacement
        return tensorflow().lite.Interpreter(str(path), num_threads=os.cpu_count() or 1)


class _HidingFinder:
    """A finder of modules that hides the ``_HIDDEN_PACKAGES`` from the thread that makes it.

    Packages that were imported before are not hidden.
    """

    def __init__(self) -> None:
        self._packages = _HIDDEN_PACKAGES.difference(sys.modules)
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        package = name.partition(".")[0]
        if package in self._packages and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def _fast_import() -> Iterator[None]:
    """A context in which TensorFlow is imported faster.

    Hiding optional packages saves up to half of the time. Pausing garbage collection, which finds
    nothing, saves an eighth.
    """
    finder = _HidingFinder()
    gc_was_enabled = gc.isenabled()
    sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if gc_was_enabled:
            gc.enable()


@contextmanager
def _without_start_up_noise() -> Iterator[None]:
    """Drop the lines that TensorFlow's C++ code writes to stderr at start-up.

    It writes them before it reads its log level, so no setting silences them. Other lines are
    passed on at the end.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in captured:
                if not _START_UP_NOISE.match(line):
                    os.write(2, line)
