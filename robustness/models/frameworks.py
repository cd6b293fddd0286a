"""Every private interface of Keras, TensorFlow, OpenVINO and torch that the models use or replace.

A new version may change any of them without notice: a test names each that is gone.

TensorFlow and Keras, imported on demand and set up once.

The import takes seconds, so no module imports them at its top: call ``tensorflow()`` or
``keras()``. Then ``--help`` and a page's first paint never wait for them.
"""

from __future__ import annotations

import contextlib
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

from robustness.base import workers

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


_importing = threading.Lock()
_START_UP_NOISE = re.compile(rb"^(WARNING: All log messages before absl|[IWE]0000 )")
_DONE_WITHOUT = frozenset({"cv2", "matplotlib", "pandas", "scipy", "sklearn"})
"""Optional packages that TensorFlow and Keras try to import and no network needs."""


def tensorflow() -> Any:
    """The ``tensorflow`` module; quiet, with Keras on its TensorFlow backend."""
    loaded = sys.modules.get("tensorflow")
    if loaded is not None and not _importing.locked():
        return loaded
    with _importing:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        if "tensorflow" in sys.modules:
            return sys.modules["tensorflow"]
        # Its own pool for oneDNN never shrinks: after VGG16 was released, 1.6 GB stayed. The
        # system's allocator returns memory, but by default maps and unmaps every large activation,
        # which made a pass up to three times as slow; kept in one heap until it is given back, it
        # is as fast.
        if workers.keep_everything():
            os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        with _without_start_up_noise(), _fast_import():
            import tensorflow as tf

            tf.config.list_logical_devices()  # looks for accelerators and logs about them
        return tf


@cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU; asked only where there is a device, as that is slow."""
    devices = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    if not devices or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return bool(tensorflow().config.list_physical_devices("GPU"))


def keras() -> Any:
    """The ``keras`` module on its TensorFlow backend."""
    tensorflow()
    import keras as keras_module

    return keras_module


def tflite_interpreter(path: Path) -> Any:
    """TensorFlow Lite's interpreter of the file ``path``, on all cores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its replacement
        return tensorflow().lite.Interpreter(str(path), num_threads=os.cpu_count() or 1)


class _Refused:
    """An importer that hides ``_DONE_WITHOUT``, unless imported already, from this thread."""

    def __init__(self) -> None:
        self._packages = _DONE_WITHOUT.difference(sys.modules)
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        package = name.partition(".")[0]
        if package in self._packages and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextlib.contextmanager
def _fast_import() -> Iterator[None]:
    """Hides optional packages, up to half of TensorFlow's import time, and pauses garbage
    collection, an eighth, which finds nothing."""
    refused = _Refused()
    collects = gc.isenabled()
    sys.meta_path.insert(0, refused)
    gc.disable()
    try:
        yield
    finally:
        sys.meta_path.remove(refused)
        if collects:
            gc.enable()


@contextlib.contextmanager
def _without_start_up_noise() -> Iterator[None]:
    """Drops the lines that TensorFlow's C++ code writes to stderr at start-up.

    It writes them before it reads its log level, so no setting silences them. Other lines are
    passed on afterwards.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            capture.seek(0)
            for line in capture:
                if not _START_UP_NOISE.match(line):
                    os.write(2, line)
